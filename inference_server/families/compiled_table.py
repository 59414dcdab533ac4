"""The tabular families compiled: the same rows and the same answers as in `tabular.py`, computed by one graph.

The graph reads one array of float64, rows by features: booleans are 1 and 0, what is missing is NaN, and a category is
the number that the card gives it, or the number after the last for one that the model has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from inference_server.card import ModelCard
from inference_server.families.base import ModelUnreadable
from inference_server.families.graph import Graph
from inference_server.families.rows import Feature, Row, RowReader, features_of
from inference_server.families.table_answers import ClassAnswers, NumberAnswers

_ROUNDING = np.float32(4e-6)

Matrix = np.ndarray[Any, np.dtype[np.float64]]


class _Compiled:
    def __init__(self, graph: Graph, card: ModelCard) -> None:
        features = features_of(card.details)
        self._graph = graph
        self._reader = RowReader(features)
        self._encoder = Encoder(features, (card.compiled or {}).get("categories"))

    @classmethod
    def load(cls, directory: Path, card: ModelCard, threads: int) -> Self:
        return cls(Graph.load(directory, threads), card)

    def parse(self, data: object) -> Sequence[Row]:
        return self._reader.read(data)

    def _outputs(self, rows: Sequence[Row]) -> Matrix:
        outputs: Matrix = self._graph(self._encoder.matrix(rows))
        if not math.isfinite(outputs.sum(dtype=np.float64)):
            raise ArithmeticError("The model answered with numbers that are not finite.")
        return outputs


class Encoder:
    """Turns rows into what the graph reads."""

    def __init__(self, features: Sequence[Feature], categories: object) -> None:
        """`categories` are the known ones of each category column, by name. Raises `ModelUnreadable`."""
        listed = categories if isinstance(categories, Mapping) else {}
        self._width = len(features)
        self._numbers: dict[int, dict[str | None, float]] = {}
        for position, feature in enumerate(features):
            if feature.kind == "category":
                self._numbers[position] = _numbered(listed.get(feature.name), feature.name)

    def matrix(self, rows: Sequence[Row]) -> Matrix:
        """(rows, features), float64."""
        encoded = [self._encoded(row) for row in rows] if self._numbers else rows
        try:  # in half the time of an array of lists
            flat = np.fromiter(chain.from_iterable(encoded), np.float64, len(rows) * self._width)
        except TypeError:  # something is missing
            return np.array(encoded, dtype=np.float64)
        return flat.reshape(len(rows), self._width)

    def _encoded(self, row: Row) -> list[Any]:
        encoded: list[Any] = list(row)
        for position, numbers in self._numbers.items():
            encoded[position] = numbers.get(encoded[position], len(numbers) - 1)
        return encoded


def _numbered(categories: object, name: str) -> dict[str | None, float]:
    if not isinstance(categories, list) or not all(isinstance(category, str) for category in categories):
        raise ModelUnreadable(f"The model card must list the categories that the compiled model knows of {name!r}.")
    return {None: math.nan, **{category: float(number) for number, category in enumerate(categories)}}


class TabularRegression(_Compiled, NumberAnswers):
    """One number a row."""

    def __init__(self, graph: Graph, card: ModelCard) -> None:
        _Compiled.__init__(self, graph, card)
        NumberAnswers.__init__(self, card)

    def predict(self, rows: Sequence[Row]) -> Sequence[float]:
        return self._outputs(rows).reshape(len(rows)).tolist()


class TabularClassification(_Compiled, ClassAnswers):
    """A probability a class and row; the likeliest class is the prediction."""

    def __init__(self, graph: Graph, card: ModelCard) -> None:
        _Compiled.__init__(self, graph, card)
        ClassAnswers.__init__(self, card)

    def predict(self, rows: Sequence[Row]) -> Sequence[list[float]]:
        outputs = self._outputs(rows).reshape(len(rows), len(self._classes))
        if outputs.dtype == np.float32:
            _level(outputs)
        probabilities: list[list[float]] = outputs.tolist()
        return probabilities


def _level(probabilities: Any) -> None:
    """Set what differs from a row's largest by less than rounding to it, so that the first of equals is the class.

    A forest's votes that are equal in float64 are not, summed up in the float32 of a graph.
    """
    largest = probabilities.max(axis=1, keepdims=True)
    np.copyto(probabilities, largest, where=probabilities > largest - _ROUNDING)
