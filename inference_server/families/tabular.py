"""The tabular families on the serving side: rows of a table in, numbers or classes out.

A model folder holds `model.skops`: one fitted scikit-learn estimator that predicts on a pandas DataFrame with the
card's feature columns in the card's order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from inference_server.card import ModelCard
from inference_server.families.base import ModelUnreadable
from inference_server.families.rows import Feature, Row, RowReader, features_of
from inference_server.families.skops_reader import read_skops
from inference_server.families.split_pipeline import SplitPipeline
from inference_server.families.table_answers import ClassAnswers, NumberAnswers

MODEL_FILE = "model.skops"


def table(rows: Sequence[Row], features: Sequence[Feature]) -> Any:
    """Rows as a DataFrame: number and boolean columns are float64, category columns hold text; NaN where missing."""
    import pandas as pd

    return pd.DataFrame(dict(zip((f.name for f in features), columns(rows, features), strict=True)), copy=False)


def columns(rows: Sequence[Row], features: Sequence[Feature]) -> list[Any]:
    """One array a feature: float64, or objects for categories; NaN where missing."""
    return [_column([row[index] for row in rows], feature.kind) for index, feature in enumerate(features)]


def _column(values: list[Any], kind: str) -> Any:
    if kind != "category":
        return np.array(values, dtype=np.float64)
    return np.array([math.nan if value is None else value for value in values], dtype=object)


class _Tabular:
    """A fitted estimator and the columns it reads."""

    method: str

    def __init__(self, model: Any, card: ModelCard) -> None:
        self._features = features_of(card.details)
        self._reader = RowReader(self._features)
        self._split = SplitPipeline.of(model, self._features)
        self._estimator = self._split.final if self._split else model
        if not hasattr(self._estimator, self.method):
            raise ModelUnreadable(f"{MODEL_FILE} holds a {type(model).__name__}, which has no {self.method}.")

    @classmethod
    def load(cls, directory: Path, card: ModelCard, device: str) -> Self:
        return cls(read_skops(directory / MODEL_FILE), card)

    def parse(self, data: object) -> Sequence[Row]:
        return self._reader.read(data)

    def _outputs(self, rows: Sequence[Row]) -> Any:
        inputs = self._split.matrix(columns(rows, self._features)) if self._split else table(rows, self._features)
        outputs = getattr(self._estimator, self.method)(inputs)
        if not np.isfinite(outputs).all():
            raise ArithmeticError("The model answered with numbers that are not finite.")
        return outputs


class TabularRegression(_Tabular, NumberAnswers):
    """One number a row."""

    method = "predict"

    def __init__(self, model: Any, card: ModelCard) -> None:
        _Tabular.__init__(self, model, card)
        NumberAnswers.__init__(self, card)

    def predict(self, rows: Sequence[Row]) -> Sequence[float]:
        return self._outputs(rows).tolist()  # type: ignore[no-any-return]


class TabularClassification(_Tabular, ClassAnswers):
    """A probability a class and row; the likeliest class is the prediction."""

    method = "predict_proba"

    def __init__(self, model: Any, card: ModelCard) -> None:
        _Tabular.__init__(self, model, card)
        ClassAnswers.__init__(self, card)
        if list(self._classes) != getattr(model, "classes_", np.array([])).tolist():
            raise ModelUnreadable("The model card names other classes than the model has, or in another order.")

    def predict(self, rows: Sequence[Row]) -> Sequence[list[float]]:
        return self._outputs(rows).tolist()  # type: ignore[no-any-return]
