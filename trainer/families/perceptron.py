"""Perceptrons: the scikit-learn estimators of the tabular families, before their first epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import skops.io
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inference_server.families.rows import Feature
from trainer.families.columns import MAX_CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

WEIGHT_DECAY = 0.3  # measured: scikit-learn's 0.0001 overfits small tables (diabetes: r2 0.29 instead of 0.49)


def regressor(columns: Any, targets: npt.NDArray[np.float64], units: int) -> Any:
    """A pipeline that answers in the target's own units: its network learns the standardised target."""
    network = MLPRegressor(hidden_layer_sizes=(units, units), alpha=WEIGHT_DECAY)
    scaler = StandardScaler().fit(targets.reshape(-1, 1))
    model = TransformedTargetRegressor(regressor=network, transformer=scaler)
    # What its fit() would set. It cannot be called: it fits a whole network at once.
    model.regressor_, model.transformer_, model._training_dim = network, scaler, 1
    return Pipeline([("columns", columns), ("model", model)])


def classifier(columns: Any, units: int) -> Any:
    return Pipeline(
        [("columns", columns), ("model", MLPClassifier(hidden_layer_sizes=(units, units), alpha=WEIGHT_DECAY))]
    )


def columns(frame: pd.DataFrame, features: Sequence[Feature]) -> Any:
    """The ColumnTransformer in front, fitted to `frame`: dense, as wide as there are numbers and categories."""
    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False, dtype=np.float32
    )
    number = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    category = Pipeline(
        [("impute", SimpleImputer(strategy="most_frequent", keep_empty_features=True)), ("encode", encoder)]
    )
    numbers = [f.name for f in features if f.kind != "category"]
    categories = [f.name for f in features if f.kind == "category"]
    branches = [("numbers", number, numbers), ("categories", category, categories)]
    return ColumnTransformer([branch for branch in branches if branch[2]]).fit(frame)


def dump(content: Any, path: Path) -> None:
    """Write `content` as a skops file, for `read_skops`."""
    skops.io.dump(content, path)
