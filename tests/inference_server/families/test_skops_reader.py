"""The skops reader: equal to skops' own loader on what is allowed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.neural_network import MLPRegressor

from inference_server.families.skops_reader import read_skops


def test_a_model_predicts_as_the_one_that_skops_loads(classifier_folder: Path, regressor_folder: Path) -> None:
    from tests.inference_server.models import frame

    for folder in (classifier_folder, regressor_folder):
        file = folder / "model.skops"
        reference = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
        ours = read_skops(file)
        assert np.array_equal(ours.predict(frame()), reference.predict(frame()))
        assert repr(ours.get_params()) == repr(reference.get_params())


def test_training_goes_on_from_a_read_model_as_from_the_original(tmp_path: Path) -> None:
    rows, targets = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40.0)
    model = MLPRegressor(hidden_layer_sizes=(5,), random_state=0).partial_fit(rows, targets)
    skops.io.dump({"epoch": 1, "estimator": model}, tmp_path / "state.skops")
    read = read_skops(tmp_path / "state.skops")
    assert read["epoch"] == 1
    again, straight = read["estimator"].partial_fit(rows, targets), model.partial_fit(rows, targets)
    assert np.array_equal(again.predict(rows), straight.predict(rows))


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2.5, None, True, "x"], "b": (1, (2, 3)), "c": slice(1, None, 2)},
        {1: "int key", 2.5: "float key"},
        np.array([["a", np.nan], [None, "b"]], dtype=object),
        np.array([[1, 2], "x", (3, 4)], dtype=object),
        np.array([], dtype=object),
        np.array(["ab", "c"]),
        np.float32(2.5),
        np.dtype("float32"),
        [np.arange(3), np.zeros((2, 0))],
    ],
)
def test_plain_content_comes_back_as_from_skops(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "content.skops"
    skops.io.dump(content, file)
    reference = skops.io.load(file, trusted=["numpy.dtype"])
    ours = read_skops(file)
    assert type(ours) is type(reference)
    assert pickle.dumps(ours) == pickle.dumps(reference)


def test_one_object_that_stands_in_two_places_stays_one(tmp_path: Path) -> None:
    shared = [1, 2]
    skops.io.dump({"a": shared, "b": shared}, tmp_path / "shared.skops")
    read = read_skops(tmp_path / "shared.skops")
    assert read["a"] is read["b"]
