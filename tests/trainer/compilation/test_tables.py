"""Compiling tables: scikit-learn's models, with what stands before them, as graphs that answer the same."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from inference_server.card import ModelCard
from inference_server.families.base import CompiledUnusable, load_compiled
from inference_server.families.rows import Feature
from inference_server.families.tabular import TabularClassification, TabularRegression
from tests.inference_server.models import FEATURES, classifier, frame, write_model
from trainer.compilation.comparing import Comparison, compare
from trainer.compilation.compiling import compile_model
from trainer.compilation.graphs import NotCompilable
from trainer.compilation.tables import graphs_of

IRIS = tuple(Feature(name, "number") for name in "abcd")
X, Y = pd.DataFrame(load_iris().data, columns=list("abcd")), load_iris().target
MIXED = tuple(Feature(**feature) for feature in FEATURES)


def card_of(model: Any, features: tuple[Feature, ...]) -> ModelCard:
    details = {"features": [{"name": feature.name, "kind": feature.kind} for feature in features]}
    if not hasattr(model, "predict_proba"):
        return ModelCard("tabular_regression", {}, details=details)
    return ModelCard("tabular_classification", {}, classes=tuple(model.classes_.tolist()), details=details)


def compared(folder: Path, model: Any, features: tuple[Feature, ...], rows: list[Any]) -> list[Comparison]:
    """Each graph that can be loaded against the model, in the order in which they would be tried."""
    found, card = [], card_of(model, features)
    serving = TabularClassification if card.classes else TabularRegression
    for candidate in graphs_of(model, features):
        (folder / "model.onnx").write_bytes(candidate.graph.SerializeToString())
        with contextlib.suppress(CompiledUnusable):
            compiled = load_compiled(folder, replace(card, compiled=candidate.inputs), 1)
            found.append(compare(serving(model, card), compiled, [{"features": rows}]))
    return found


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(100, random_state=0),
        ExtraTreesClassifier(20, random_state=0),
        GradientBoostingClassifier(n_estimators=10),
        DecisionTreeClassifier(),
        LogisticRegression(max_iter=500),
        Pipeline([("scale", StandardScaler()), ("model", LogisticRegression())]),
        LinearRegression(),
        RandomForestRegressor(20, random_state=0),
        MLPRegressor(hidden_layer_sizes=(8,), max_iter=500),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_first_graph_of_a_numeric_model_is_equal(tmp_path: Path, estimator: BaseEstimator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimator.fit(X, Y)
    near = np.random.default_rng(0).normal(X, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [first, *_] = compared(tmp_path, model, IRIS, np.vstack([X, near]).tolist())
    assert first.is_equal, first
    assert first.rows == 300


def test_trees_decide_alike_for_values_on_both_sides_of_every_threshold(tmp_path: Path) -> None:
    """Where float32 would flip: scikit-learn rounds a row to float32 and compares it with a threshold in float64."""
    model = RandomForestClassifier(30, random_state=0).fit(X, Y)
    thresholds = np.unique(
        np.concatenate([tree.tree_.threshold[tree.tree_.feature >= 0] for tree in model.estimators_])
    )
    edges = [np.nextafter(thresholds.astype(kind), kind(way)) for kind in (np.float32, np.float64) for way in (-9, 99)]
    values = np.concatenate([thresholds, *edges]).astype(np.float64)
    rows = np.random.default_rng(0).choice(values, (4000, 4)).tolist()
    [first, second] = compared(tmp_path, model, IRIS, rows)
    assert first.is_equal, first
    assert not second.is_equal, "float64 would be wrong here, so the order matters"


def test_what_scikit_learn_does_with_rare_unseen_and_missing_categories_is_in_the_graph(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "n": chance.normal(size=300),
            "c": chance.choice([f"c{i}" for i in range(30)], 300),
            "d": chance.choice(np.array(["x", "y", np.nan], dtype=object), 300),
        }
    )
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=5, dtype=np.float32)
    category = Pipeline([("impute", SimpleImputer(strategy="most_frequent")), ("encode", encoder)])
    columns = ColumnTransformer([("c", category, ["d", "c"]), ("n", StandardScaler(), ["n"])], sparse_threshold=0)
    model = Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(table, table["n"] > 0)
    features = (Feature("n", "number"), Feature("c", "category"), Feature("d", "category"))
    rows = [
        [0.1 * i, c, d] for i, c in enumerate([*(f"c{i}" for i in range(30)), "new", None]) for d in ("x", None, "z")
    ]
    [first, *_] = compared(tmp_path, model, features, rows)
    assert first.is_equal, first
    assert first.rows == 96


def test_a_standardised_target_is_turned_back(tmp_path: Path) -> None:
    model = TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()).fit(
        X[["a", "b", "c"]], X["d"] * 1000
    )
    [first, *_] = compared(tmp_path, model, IRIS[:3], X[["a", "b", "c"]].to_numpy().tolist())
    assert first.is_equal, first


@pytest.mark.parametrize(
    ("numbers", "categories", "why"),
    [
        (MinMaxScaler(), OneHotEncoder(sparse_output=False), "numbers pass a MinMaxScaler"),
        (StandardScaler(), OrdinalEncoder(), "categories pass a OrdinalEncoder"),
    ],
)
def test_what_no_graph_is_known_for_is_said(numbers: Any, categories: Any, why: str) -> None:
    table = frame().dropna()
    columns = ColumnTransformer([("n", numbers, ["age", "member", "income"]), ("c", categories, ["city"])])
    model = Pipeline([("columns", columns), ("model", LogisticRegression())]).fit(table, table["income"] > 1000)
    with pytest.raises(NotCompilable, match=why):
        list(graphs_of(model, MIXED))


def test_a_model_of_texts_that_is_no_column_transformer_is_not_compiled() -> None:
    with pytest.raises(NotCompilable, match="reads the texts of 'city'"):
        list(graphs_of(LinearRegression(), MIXED))


def test_held_out_rows_are_compared_also_with_values_missing_and_unseen(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", classifier())
    compiled = compile_model(folder, [{"features": [[40.0, "Oslo", True, 900.0], [30.0, "Rome", False, 1100.0]]}])
    assert compiled["isEqual"], compiled
    assert compiled["rows"] == 2 + 2 * (4 + 1)
    assert compiled["reason"].startswith("Compiled, and equal: of 12 held-out rows the classes are equal")
    assert (folder / "model.onnx").exists()


def test_a_graph_that_differs_is_not_equal_and_the_reason_has_the_numbers(tmp_path: Path) -> None:
    model, other = DecisionTreeClassifier().fit(X, Y), DecisionTreeClassifier().fit(X, np.roll(Y, 50))
    [candidate, *_] = graphs_of(other, IRIS)
    (tmp_path / "model.onnx").write_bytes(candidate.graph.SerializeToString())
    card = card_of(model, IRIS)
    compiled = load_compiled(tmp_path, replace(card, compiled=candidate.inputs), 1)
    found = compare(TabularClassification(model, card), compiled, [{"features": X.to_numpy().tolist()}])
    assert not found.is_equal
    assert found.to_json()["differentClasses"] == 150
    assert found.sentence() == (
        "Compiled, but not equal, so the original is served: of 150 held-out rows 150 classes differ, "
        "and numbers differ by 1 at most (1e-05 is allowed)."
    )


def test_what_one_answers_and_the_other_does_not_is_a_difference(tmp_path: Path) -> None:
    """scikit-learn's linear models refuse what is missing."""
    model = DecisionTreeClassifier().fit(X, Y)
    card = card_of(model, IRIS)
    linear = TabularClassification(LogisticRegression(max_iter=500).fit(X, Y), card)
    found = compare(linear, TabularClassification(model, card), [{"features": [[None, 1.0, 1.0, 1.0]]}])
    assert not found.is_equal
    assert "1 requests are answered by one alone" in found.sentence()
