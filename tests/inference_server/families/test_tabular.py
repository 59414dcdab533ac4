"""The tabular families: what a model folder answers, by name, and which folders are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor

from inference_server.card import ModelCard
from inference_server.families.base import ModelUnreadable, load_family
from inference_server.families.rows import Row, features_of
from inference_server.families.skops_reader import read_skops
from inference_server.families.tabular import table
from tests.inference_server.models import FEATURES, classifier, write_model

ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(-1e6, 1e6),
        st.none() | st.sampled_from(["Rome", "Oslo", "Bonn", "Atlantis"]),
        st.none() | st.booleans(),
        st.none() | st.floats(-1e6, 1e6),
    ).map(list),
    min_size=1,
    max_size=30,
)


def loaded(folder: Path) -> Any:
    return load_family(folder, ModelCard.read(folder))


def answer(family: Any, rows: Any) -> Any:
    return family.render(family.predict(family.parse({"features": rows})))


def on_a_frame(folder: Path, rows: list[Row]) -> Any:
    """The whole pipeline on a DataFrame, as scikit-learn means it."""
    model = read_skops(folder / "model.skops")
    frame = table(loaded(folder).parse({"features": rows}), features_of({"features": FEATURES}))
    return model.predict_proba(frame) if hasattr(model, "classes_") else model.predict(frame)


def test_a_regression_answers_numbers_and_the_name_of_the_target(regressor_folder: Path) -> None:
    got = answer(loaded(regressor_folder), [[40, "Oslo", True, 900], [None, None, None, None]])
    assert got["target"] == "price"
    assert len(got["predictions"]) == 2
    assert all(type(number) is float for number in got["predictions"])


def test_a_classification_answers_class_names_with_their_probabilities(classifier_folder: Path) -> None:
    got = answer(loaded(classifier_folder), [[40, "Oslo", True, 2500], [40, "Oslo", True, 0]])
    assert got["predictions"] == ["rich", "poor"]
    assert got["target"] == "wealth"
    for probabilities, prediction in zip(got["probabilities"], got["predictions"], strict=True):
        assert list(probabilities) == ["middle", "poor", "rich"]
        assert sum(probabilities.values()) == pytest.approx(1)
        assert max(probabilities, key=probabilities.__getitem__) == prediction


@pytest.mark.parametrize(
    ("target", "predictions", "keys"),
    [
        (np.arange(80) % 3 + 1, {1, 2, 3}, ["1", "2", "3"]),
        (np.arange(80) % 2 == 0, {True, False}, ["false", "true"]),
    ],
)
def test_classes_that_are_no_texts_stay_what_they_are_and_are_texts_as_keys(
    tmp_path: Path, target: Any, predictions: set[Any], keys: list[str]
) -> None:
    family = loaded(write_model(tmp_path / "model", classifier(target)))
    got = answer(family, [[40, "Oslo", True, 900]])
    assert got["predictions"][0] in predictions
    assert type(got["predictions"][0]) is type(next(iter(predictions)))
    assert list(got["probabilities"][0]) == keys


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)
@given(rows=ROWS)
def test_without_a_frame_the_model_answers_exactly_as_with_one(
    classifier_folder: Path, regressor_folder: Path, rows: list[Row]
) -> None:
    for folder in (classifier_folder, regressor_folder):
        family = loaded(folder)
        assert family.predict(family.parse({"features": rows})) == on_a_frame(folder, rows).tolist()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=20
)
@given(rows=ROWS)
def test_rows_in_are_rows_out_and_the_company_of_a_row_does_not_matter(
    classifier_folder: Path, rows: list[Row]
) -> None:
    family = loaded(classifier_folder)
    together = answer(family, rows)
    assert len(together["predictions"]) == len(together["probabilities"]) == len(rows)
    alone = answer(family, [rows[-1]])
    assert alone["probabilities"][0] == pytest.approx(together["probabilities"][-1])


def test_a_model_of_another_shape_predicts_on_a_frame(tmp_path: Path) -> None:
    model = classifier()
    model.steps.insert(1, ("again", "passthrough"))
    folder = write_model(tmp_path / "model", model)
    assert answer(loaded(folder), [[40, "Oslo", True, 2500]])["predictions"] == ["rich"]


def test_classes_in_another_order_than_the_models_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", classifier(), classes=("rich", "poor", "middle"))
    with pytest.raises(ModelUnreadable, match="names other classes"):
        loaded(folder)


def test_a_model_that_cannot_do_what_the_card_says_is_refused(regressor_folder: Path) -> None:
    card = ModelCard("tabular_classification", {}, details={"features": FEATURES}, classes=("a", "b"))
    with pytest.raises(ModelUnreadable, match="has no predict_proba"):
        load_family(regressor_folder, card)


def test_a_folder_without_the_models_file_is_refused(tmp_path: Path) -> None:
    card = ModelCard("tabular_regression", {}, details={"features": FEATURES})
    with pytest.raises(ModelUnreadable, match=r"model.skops cannot be read: No such file"):
        load_family(tmp_path, card)


def test_an_estimator_that_the_trainer_does_not_use_is_refused(tmp_path: Path) -> None:
    skops.io.dump(DummyRegressor().fit([[1]], [1]), tmp_path / "model.skops")
    with pytest.raises(ModelUnreadable, match=r"sklearn\.dummy\.DummyRegressor"):
        load_family(tmp_path, ModelCard("tabular_regression", {}, details={"features": FEATURES}))


def test_an_answer_that_is_not_finite_is_an_error_and_no_null(tmp_path: Path, regressor_folder: Path) -> None:
    model = read_skops(regressor_folder / "model.skops")
    model[-1].coefs_[0][:] = np.nan
    family = loaded(write_model(tmp_path / "model", model))
    with pytest.raises((ArithmeticError, ValueError)):
        answer(family, [[40, "Oslo", True, 900]])


def test_what_the_trainer_saves_is_loaded(tmp_path: Path) -> None:
    from tests.inference_server.models import frame
    from trainer.families.tabular import TabularClassification, TabularRegression

    settings = {"numEpoch": 1, "learningRate": 0.01, "numBatch": 32, "hiddenUnits": 4, "targetColumn": "", "seed": 0}
    for kind, values in ((TabularClassification, ["poor", "rich"]), (TabularRegression, [1.5, 7.25])):
        data = frame().assign(member=lambda f: f["member"].map({0.0: False, 1.0: True}), target=(values * 40))
        data.to_csv(tmp_path / "data.csv", index=False)
        family = kind({**settings, "testFraction": 0.2}, "cpu")
        family.prepare(tmp_path / "data.csv", None)
        list(family.epochs())
        folder = tmp_path / kind.__name__
        folder.mkdir()
        family.save(folder).write(folder)
        served = loaded(folder)
        assert served._split is not None, "the trainer's pipeline should take the fast way"
        example = json.loads((folder / "modelyard.json").read_text())["input_example"]["features"]
        assert len(answer(served, example)["predictions"]) == len(example)
