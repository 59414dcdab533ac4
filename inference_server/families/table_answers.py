"""The answers of the tabular families, the same whether the original or its compiled form computed the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from inference_server.card import ModelCard


class NumberAnswers:
    """Of a regression: numbers, and the name of what they are."""

    def __init__(self, card: ModelCard) -> None:
        self._target = card.target

    def render(self, outputs: Sequence[float]) -> Mapping[str, Any]:
        return {"predictions": list(outputs), "target": self._target}


class ClassAnswers:
    """Of a classification: the likeliest class of each row, the first of equals, and all probabilities by name."""

    def __init__(self, card: ModelCard) -> None:
        self._target = card.target
        self._classes = card.classes or ()
        self._labels = tuple(c if isinstance(c, str) else json.dumps(c) for c in self._classes)

    def render(self, outputs: Sequence[Sequence[float]]) -> Mapping[str, Any]:
        return {
            "predictions": [self._classes[row.index(max(row))] for row in outputs],
            "probabilities": [dict(zip(self._labels, row, strict=True)) for row in outputs],
            "target": self._target,
        }
