"""The served model: fetched, checked, loaded and warmed up before it counts as ready."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference_server.batching import RowsMiscounted, counted
from inference_server.contract import ServerInput
from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.families.skops_reader import read_skops
from inference_server.model import ServedModel
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.models import EXAMPLE, write_model
from tests.inference_server.server_process import letter


@pytest.fixture
def mlflow() -> Iterator[FakeMlflowRest]:
    with FakeMlflowRest() as server:
        yield server


@pytest.fixture
def wanted(mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path) -> ServerInput:
    mlflow.log(classifier_folder, directory_digest(classifier_folder))
    return letter(tmp_path, mlflow.url)


def with_card(folder: Path, target: Path, **fields: Any) -> Path:
    """A copy of a model's folder with other fields in its card."""
    target.mkdir()
    (target / "model.skops").write_bytes((folder / "model.skops").read_bytes())
    card = json.loads((folder / "modelyard.json").read_text())
    (target / "modelyard.json").write_text(json.dumps({**card, **fields}))
    return target


def test_a_prepared_model_is_ready_and_answers(wanted: ServerInput) -> None:
    model = ServedModel(wanted)
    assert model.phase.reason == "Starting"
    model.prepare()
    assert model.is_ready
    outputs = model.predict(model.family.parse({"features": EXAMPLE}))
    assert len(model.rendered(outputs)["predictions"]) == len(EXAMPLE)
    assert list(model.describe()["seconds"]) == ["fetch", "load", "warmUp"]


def test_a_later_start_takes_the_model_from_the_cache_unless_it_was_changed(
    wanted: ServerInput, mlflow: FakeMlflowRest, classifier_folder: Path
) -> None:
    name = directory_digest(classifier_folder).replace(":", "-")
    downloads = []
    for poison in (False, False, True):
        if poison:
            (Path(wanted.model_cache) / name / "modelyard.json").write_text("poison")
        mlflow.asked.clear()
        model = ServedModel(wanted)
        model.prepare()
        assert model.is_ready
        downloads.append(sum("model.skops" in path for path in mlflow.asked))
    assert downloads == [1, 0, 1]


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"input_example": {"features": [["x", None, None, None]]}}, 'its own input example: Row 1, column "age"'),
        ({"input_example": {}}, "its own input example: data must be an object"),
        ({"input_example": []}, "input_example must be an object"),
        ({"family": "tabular_regression"}, "is of the family tabular_regression, not tabular_classification"),
        ({"family": ["x"]}, "family must be a text"),
        ({"details": {}}, "features must be a list"),
        ({"classes": "middle"}, "classes must be a list"),
        ({"format": 2}, "has format 2; this server reads 1"),
        ({"surprise": 2}, "unknown fields: surprise"),
    ],
)
def test_a_card_that_does_not_fit_its_model_is_refused(
    wanted: ServerInput,
    mlflow: FakeMlflowRest,
    classifier_folder: Path,
    tmp_path: Path,
    card: dict[str, Any],
    words: str,
) -> None:
    odd = with_card(classifier_folder, tmp_path / "odd", **card)
    mlflow.log(odd, directory_digest(odd))
    model = ServedModel(wanted)
    with pytest.raises(ModelUnreadable) as caught:
        model.prepare()
    assert words in str(caught.value)
    assert not model.is_ready


def test_a_family_that_nobody_knows_is_refused(
    wanted: ServerInput, mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    odd = with_card(classifier_folder, tmp_path / "odd", family="fortune_telling")
    mlflow.log(odd, directory_digest(odd))
    with pytest.raises(ModelUnreadable, match="There is no model family 'fortune_telling'"):
        ServedModel(replace(wanted, family="fortune_telling")).prepare()


def test_a_model_that_fails_on_its_own_example_is_not_ready(
    wanted: ServerInput, mlflow: FakeMlflowRest, regressor_folder: Path, tmp_path: Path
) -> None:
    broken = read_skops(regressor_folder / "model.skops")
    broken[-1].coefs_.pop()
    folder = write_model(tmp_path / "broken", broken)
    mlflow.log(folder, directory_digest(folder))
    model = ServedModel(replace(wanted, family="tabular_regression"))
    with pytest.raises(IndexError):
        model.prepare()
    assert model.phase.reason == "WarmingUp"


class Forgetful:
    """A family that loses a row: on the way through the model, or on the way out."""

    def __init__(self, predicted: int, rendered: int) -> None:
        self.predicted, self.rendered = predicted, rendered

    def parse(self, data: object) -> list[int]:
        return [1, 2, 3]

    def predict(self, rows: Any) -> list[int]:
        return [0] * self.predicted

    def render(self, outputs: Any) -> dict[str, Any]:
        return {"predictions": [0] * self.rendered}


@pytest.mark.parametrize(
    ("predicted", "rendered", "words"),
    [
        (2, 2, "3 rows, 2 outputs"),
        (4, 3, "3 rows, 4 outputs"),
        (0, 0, "3 rows, 0 outputs"),
        (3, 2, "3 outputs, 2 predictions"),
    ],
)
def test_a_model_that_loses_rows_is_never_believed(
    wanted: ServerInput, predicted: int, rendered: int, words: str
) -> None:
    model = ServedModel(wanted)
    model._family = Forgetful(predicted, rendered)
    with pytest.raises(RowsMiscounted, match=words):
        model.rendered(counted(model.predict, [1, 2, 3]))
