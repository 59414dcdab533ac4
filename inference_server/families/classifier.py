"""Classifier: what every family shares whose output is a probability for each of the card's classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inference_server.card import ModelCard
from inference_server.families.base import ModelUnreadable

Probabilities = np.ndarray[Any, np.dtype[np.float64]]


def classes_of(card: ModelCard) -> tuple[str | int | float | bool, ...]:
    """The card's classes. Raises `ModelUnreadable` if there are not two or more, each with a name of its own."""
    classes = card.classes or ()
    if len(classes) < 2 or len(set(map(label, classes))) < len(classes):
        raise ModelUnreadable("The model's card must name two or more different classes.")
    return classes


def checked(outputs: Any) -> list[Probabilities]:
    """A graph's probabilities, row by row. Raises `ArithmeticError` if they are no finite numbers."""
    if not np.isfinite(outputs).all():
        raise ArithmeticError("The model answered with numbers that are not finite.")
    return list(outputs)


def label(name: str | int | float | bool) -> str:
    """A class as a key of the answer's JSON object: a string as it is, anything else as JSON writes it."""
    return name if isinstance(name, str) else json.dumps(name)


def render(classes: Sequence[str | int | float | bool], outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
    """The answer: the most probable class of each row, and every class's probability by name."""
    names = [label(name) for name in classes]
    return {
        "predictions": [classes[int(output.argmax())] for output in outputs],
        "probabilities": [dict(zip(names, output.tolist(), strict=True)) for output in outputs],
    }
