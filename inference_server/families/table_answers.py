"""The answers of the tabular families, the same whether the original or its compiled form computed the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

from inference_server.card import ModelCard


class NumberAnswers:
    """Of a regression: numbers, and the name of what they are."""

    def __init__(self, card: ModelCard) -> None:
        self._target = card.target

    def render(self, outputs: Sequence[float]) -> Mapping[str, Any]:
        return {"predictions": list(outputs), "target": self._target}


class ClassAnswers:
    """Of a classification: the likeliest class of each row, the first of equals, and all probabilities by name.

    Each output has one probability a class; this is a request's costliest part after the model, so it loops in C.
    """

    def __init__(self, card: ModelCard) -> None:
        self._target = card.target
        self._classes = card.classes or ()
        self._labels = tuple(c if isinstance(c, str) else json.dumps(c) for c in self._classes)

    def render(self, outputs: Sequence[list[float]]) -> Mapping[str, Any]:
        likeliest = map(list.index, outputs, map(max, outputs))
        return {
            "predictions": list(map(self._classes.__getitem__, likeliest)),
            "probabilities": self._named(outputs),
            "target": self._target,
        }

    def _named(self, outputs: Sequence[Sequence[float]]) -> list[dict[str, float]]:
        match self._labels:
            case (a, b):  # to write two or three names out takes a fifth of the time
                return [{a: x, b: y} for x, y in outputs]
            case (a, b, c):
                return [{a: x, b: y, c: z} for x, y, z in outputs]
        return list(map(dict, map(zip, repeat(self._labels), outputs)))
