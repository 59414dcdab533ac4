"""The tabular families: what they learn, what they keep, what they refuse."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io

from inference_server.card import ModelCard
from inference_server.families.base import load_family
from tests.trainer.jobs import HYPERPARAMETERS
from tests.trainer.tables import linear, mixed, write_csv
from trainer.families.base import DataUnreadable, Epoch, TrainingFailed, family_class


def prepared(kind: str, dataset: Path, initial: Path | None = None, **hyperparameters: Any) -> Any:
    family = family_class(f"tabular_{kind}")({**HYPERPARAMETERS, **hyperparameters}, "cpu")
    family.prepare(dataset, initial)
    return family


def saved(family: Any, folder: Path) -> Path:
    folder.mkdir()
    family.save(folder).write(folder)
    return folder


def served(folder: Path, data: Any) -> Any:
    family = load_family(folder, ModelCard.read(folder))
    return family.render(family.predict(family.parse(data)))


def refusal(kind: str, dataset: Path, initial: Path | None = None, **hyperparameters: Any) -> str:
    with pytest.raises(DataUnreadable) as refused:
        prepared(kind, dataset, initial, **hyperparameters)
    return str(refused.value)


def test_a_regression_answers_in_the_target_s_own_units(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [(x := draw.uniform(0, 1), f"{x:.3f},{1e6 + 1e5 * x:.1f}")[1] for _ in range(200)]
    family = prepared("regression", write_csv(tmp_path / "d.csv", "x,price", rows), numEpoch=60, learningRate=0.01)
    *_, last = family.epochs()
    assert (last.number, last.of) == (60, 60)
    assert list(family.measure()) == ["r2", "mae", "mse", "train_rows", "test_rows"]
    assert last.metrics["r2"] > 0.9
    answer = served(saved(family, tmp_path / "model"), {"features": [[0.5]]})
    assert answer["target"] == "price"
    assert answer["predictions"][0] == pytest.approx(1.05e6, rel=0.02)


def test_a_resumed_training_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    data = mixed(tmp_path / "d.csv")
    unbroken = list(prepared("classification", data, numEpoch=6).epochs())
    stopped, epochs = prepared("classification", data, numEpoch=6), []
    for epoch in stopped.epochs():
        epochs.append(epoch)
        if epoch.number == 3:
            break
    (tmp_path / "state").mkdir()
    stopped.checkpoint(tmp_path / "state")
    resumed = prepared("classification", data, numEpoch=6)
    resumed.resume(tmp_path / "state")
    assert [*epochs, *resumed.epochs()] == unbroken


def test_another_seed_learns_otherwise(tmp_path: Path) -> None:
    def losses(seed: int) -> list[float]:
        return [epoch.metrics["train_loss"] for epoch in prepared("regression", data, seed=seed).epochs()]

    data = linear(tmp_path / "d.csv")
    assert losses(1) == losses(1) != losses(2)


def test_every_epoch_sees_the_rows_in_another_order(tmp_path: Path) -> None:
    family = prepared("regression", linear(tmp_path / "d.csv"), numEpoch=2)
    orders = [family._network.random_state for _ in family.epochs()]
    assert len(set(orders)) == 2


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes"], ("no", "yes")),
        (["0", "1"], (0, 1)),
        (["0.5", "1.5"], ("0.5", "1.5")),
        (["True", "False"], (False, True)),
        (["3", ""], None),
    ],
)
def test_classes_keep_their_kind(tmp_path: Path, labels: list[str], classes: tuple[Any, ...] | None) -> None:
    data = write_csv(tmp_path / "d.csv", "x,label", [f"{n},{labels[n % 2]}" for n in range(60)])
    if classes is None:
        assert refusal("classification", data) == "The target column 'label' holds one class only: 3."
        return
    family = prepared("classification", data, numEpoch=1)
    list(family.epochs())
    answer = served(saved(family, tmp_path / "model"), {"features": [[1], [2]]})
    assert ModelCard.read(tmp_path / "model").classes == classes
    assert {type(label) for label in answer["predictions"]} == {type(classes[0])}
    assert answer["predictions"][0] in classes


def test_missing_values_are_learnt_with_and_predicted_with(tmp_path: Path) -> None:
    family = prepared("classification", mixed(tmp_path / "d.csv"), numEpoch=30)
    list(family.epochs())
    folder = saved(family, tmp_path / "model")
    rows = [[80, "Rome", True], [None, None, None], {"age": 10}, {"age": 10, "city": "Atlantis"}]
    answers = [served(folder, {"features": [row]})["predictions"][0] for row in rows]
    assert answers[0] == "high" and answers[2] == answers[3] == "low"


def test_the_model_file_is_what_scikit_learn_itself_would_predict_with(tmp_path: Path) -> None:
    family = prepared("regression", linear(tmp_path / "d.csv"), numEpoch=1)
    list(family.epochs())
    folder = saved(family, tmp_path / "model")
    assert skops.io.get_untrusted_types(file=folder / "model.skops") == ["numpy.dtype"]
    example = ModelCard.read(folder).input_example
    frame = pd.DataFrame(example["features"], columns=["a", "b"])
    model = skops.io.load(folder / "model.skops", trusted=["numpy.dtype"])
    assert np.allclose(model.predict(frame), served(folder, example)["predictions"])


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("name", [f"Person {n}" for n in range(120)], "120 of its 120 texts are distinct"),
        ("sold", [f"2024-01-{n % 28 + 1:02d}" for n in range(120)], "it holds dates"),
        ("sold", [f"{n % 28 + 1}.01.2024" for n in range(120)], "it holds dates"),
        ("empty", [""] * 120, "all its values are missing"),
    ],
)
def test_columns_that_teach_nothing_are_left_out_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, values: list[str], why: str
) -> None:
    data = write_csv(tmp_path / "d.csv", f"x,{column},y", [f"{n},{value},{n}" for n, value in enumerate(values)])
    caplog.set_level("INFO", "trainer")
    family = prepared("regression", data, numEpoch=1)
    assert f"Column {column!r} is left out: {why}" in caplog.text
    list(family.epochs())
    assert [f["name"] for f in family.save(tmp_path).details["features"]] == ["x"]


def test_a_column_missing_in_all_training_rows_is_no_trouble(tmp_path: Path) -> None:
    rows = [f"{n},,{n}" for n in range(40)]
    held_out = prepared("regression", write_csv(tmp_path / "a.csv", "x,z,y", [f"{n},{n},{n}" for n in range(40)]))._test
    rows[held_out[0]] = f"{held_out[0]},1,{held_out[0]}"
    family = prepared("regression", write_csv(tmp_path / "d.csv", "x,z,y", rows), numEpoch=1)
    assert len(list(family.epochs())) == 1


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        ("x,y", [f"{n},{n}" for n in range(20)] + ["5,about ten"], "'y' has text where numbers belong: data row 21"),
        ("x,y", ["1,2"] * 20 + ["1,inf"], "The target column 'y' has infinite numbers: data row 21 holds inf"),
        ("x,y", ["1,2"] * 20 + ["-inf,1"], "Column 'x' has infinite numbers: data row 21 holds -inf"),
        ("x,y", [f"{n},2" for n in range(20)] + ["soon,1"], "Column 'x' has text where numbers belong: data row 21"),
        ("x,y", ["1,1e200"] * 20, "a number beyond 1e+100: data row 1 holds 1e+200"),
        ("x,y", ["1,"] * 15 + ["1,2"] * 5, "5 of the dataset's rows have a value in the target column 'y'"),
        ("y", ["1"] * 20, "no column to learn from besides the target"),
        ("name,y", [f"n{n},{n}" for n in range(60)], "no column to learn from besides the target"),
    ],
)
def test_a_table_that_no_quantity_can_be_learnt_from_is_refused(
    tmp_path: Path, header: str, rows: list[str], sentence: str
) -> None:
    assert sentence in refusal("regression", write_csv(tmp_path / "d.csv", header, rows))


def test_a_quantity_is_no_class(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "d.csv", "x,price", [f"1,{n}.5" for n in range(60)])
    assert "60 distinct values in 60 rows, too many for classes" in refusal("classification", data)


def test_a_learning_rate_that_is_too_large_fails_saying_so(tmp_path: Path) -> None:
    family = prepared("regression", linear(tmp_path / "d.csv"), learningRate=1e30, numEpoch=20)
    with pytest.raises(TrainingFailed, match=r"Training diverged in epoch \d+.*Use a smaller learningRate"):
        for epoch in family.epochs():
            assert isinstance(epoch, Epoch)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """A classifier of a, b and target, trained before."""
    family = prepared("classification", classes(tmp_path / "first.csv"), numEpoch=20, learningRate=0.01)
    list(family.epochs())
    return saved(family, tmp_path / "earlier")


def classes(path: Path, header: str = "a,b,target", names: str = "no yes") -> Path:
    draw, (low, high) = random.Random(0), names.split()
    points = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(100)]
    return write_csv(path, header, [f"{a:.3f},{b:.3f},{high if a > b else low}" for a, b in points])


def test_a_warm_start_goes_on_from_what_was_learnt(tmp_path: Path, earlier: Path) -> None:
    data = classes(tmp_path / "d.csv")
    cold = next(iter(prepared("classification", data).epochs())).metrics["log_loss"]
    warm = next(iter(prepared("classification", data, earlier).epochs())).metrics["log_loss"]
    assert warm < cold / 2


@pytest.mark.parametrize(
    ("header", "names", "sentence"),
    [
        ("a,c,target", "no yes", "'b' (number) is only in the model; 'c' (number) is only in the dataset"),
        ("a,b,label", "no yes", "The initial model predicts 'target'; the dataset's target is 'label'"),
        ("a,b,target", "no maybe", "knows the classes no, yes; the dataset has maybe, no"),
    ],
)
def test_a_warm_start_is_refused_where_the_data_differ(
    tmp_path: Path, earlier: Path, header: str, names: str, sentence: str
) -> None:
    assert sentence in refusal("classification", classes(tmp_path / "d.csv", header, names), earlier)


def test_a_warm_start_is_refused_from_what_is_no_model_of_the_family(tmp_path: Path, earlier: Path) -> None:
    data = classes(tmp_path / "d.csv")
    numbers = linear(tmp_path / "numbers.csv")
    assert "is of the family tabular_classification" in refusal("regression", numbers, earlier)
    (earlier / "model.skops").write_bytes(b"\x80\x04K\x01.")
    assert "is a pickle" in refusal("classification", data, earlier)
    (earlier / "modelyard.json").write_text(json.dumps({"family": "tabular_classification"}))
    assert "The initial model cannot be used" in refusal("classification", data, earlier)
    (earlier / "modelyard.json").unlink()
    assert "has no card" in refusal("classification", data, earlier)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04K\x01.")
    assert "is a pickle" in refusal("classification", data, tmp_path / "model.pkl")
