"""Small trained models in folders, as the trainer leaves them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inference_server.card import ModelCard

FEATURES = [
    {"name": "age", "kind": "number"},
    {"name": "city", "kind": "category"},
    {"name": "member", "kind": "boolean"},
    {"name": "income", "kind": "number"},
]
EXAMPLE = [[38.5, "Oslo", True, 1200.0], [None, None, None, None]]


def frame(rows: int = 80) -> pd.DataFrame:
    random = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "age": np.where(random.random(rows) < 0.1, np.nan, random.normal(40, 9, rows)),
            "city": random.choice(np.array(["Rome", "Oslo", "Bonn", np.nan], dtype=object), rows),
            "member": random.choice([0.0, 1.0, np.nan], rows),
            "income": random.normal(1000, 300, rows),
        }
    )


def fitted(estimator: Any, target: Any) -> Any:
    numbers = Pipeline([("impute", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    categories = Pipeline([("impute", SimpleImputer(strategy="most_frequent")), ("encode", encoder)])
    columns = ColumnTransformer([("n", numbers, ["age", "member", "income"]), ("c", categories, ["city"])])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Pipeline([("columns", columns), ("model", estimator)]).fit(frame(), target)


def classifier(target: Any = None) -> Any:
    income = frame()["income"]
    default = np.where(income > 1150, "rich", np.where(income > 900, "middle", "poor"))
    return fitted(
        MLPClassifier((8,), max_iter=600, learning_rate_init=0.01, random_state=0),
        default if target is None else target,
    )


def regressor() -> Any:
    return fitted(MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0), frame()["income"] * 2)


def write_model(folder: Path, model: Any, **card: Any) -> Path:
    """A folder with the model and its card; `card` overrides fields of the card."""
    folder.mkdir(parents=True)
    skops.io.dump(model, folder / "model.skops")
    classes = tuple(model.classes_.tolist()) if hasattr(model, "classes_") else None
    family = "tabular_regression" if classes is None else "tabular_classification"
    target = "price" if classes is None else "wealth"
    fields = {"family": family, "target": target, "classes": classes, "details": {"features": FEATURES}, **card}
    ModelCard(**{"input_example": {"features": EXAMPLE}, **fields}).write(folder)
    return folder
