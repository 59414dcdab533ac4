"""Tables compiled: the same answers and the same refusals as the original's, with neither scikit-learn nor pandas."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.card import ModelCard
from inference_server.families.base import (
    InputUnreadable,
    ModelUnreadable,
    load_compiled,
    load_family,
    load_original,
    served,
)
from inference_server.families.compiled_table import Encoder, TabularClassification
from inference_server.families.rows import Feature
from tests.inference_server.families.test_tabular import ROWS, answer
from tests.inference_server.models import EXAMPLE
from trainer.compilation.compiling import compile_model

CARD = ModelCard(
    "tabular_classification", {}, classes=("a", "b"), details={"features": [{"name": "x", "kind": "number"}]}
)
WRONG: list[Any] = [
    None,
    [],
    {"features": []},
    {"features": 5},
    {"features": [5]},
    {"features": [[1, 2]]},
    {"features": [["x", "Oslo", True, 1]]},
    {"features": [[1, 2, True, 1]]},
    {"features": [[1, "Oslo", 1, 1]]},
    {"features": [[1, "Oslo", True, True]]},
    {"features": [[1e300, "Oslo", True, 1]]},
    {"features": [{"age": 1, "wage": 2}]},
    {"features": {"age": [1, 2], "city": ["Oslo"]}},
    {"features": [[1, "Oslo", True, 1]], "more": 1},
]


@pytest.fixture(scope="module")
def folders(classifier_folder: Path, regressor_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = [copied(folder, tmp_path_factory.mktemp("compiled")) for folder in (classifier_folder, regressor_folder)]
    for folder in made:
        compiled = compile_model(folder, [{"features": EXAMPLE}])
        assert compiled["isEqual"], compiled
        replace(ModelCard.read(folder), compiled=compiled).write(folder)
    return made


def both(folder: Path) -> tuple[Any, Any]:
    card = ModelCard.read(folder)
    return load_original(folder, card), load_family(folder, card)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)
@given(rows=ROWS)
def test_it_answers_as_the_original_does(folders: list[Path], rows: Any) -> None:
    for folder in folders:
        original, compiled = both(folder)
        expected, found = answer(original, rows), answer(compiled, rows)
        assert list(expected) == list(found)
        if "probabilities" in expected:
            assert expected["predictions"] == found["predictions"]
            for one, other in zip(expected["probabilities"], found["probabilities"], strict=True):
                assert found["target"] == "wealth"
                assert other == pytest.approx(one, abs=1e-12)
                assert list(other) == list(one)
        else:
            assert found["predictions"] == pytest.approx(expected["predictions"], rel=1e-12)


@pytest.mark.parametrize("data", WRONG, ids=lambda data: json.dumps(data)[:40])
def test_it_refuses_with_the_originals_words(folders: list[Path], data: Any) -> None:
    refused = []
    for family in both(folders[0]):
        with pytest.raises(InputUnreadable) as caught:
            family.parse(data)
        refused.append((caught.value.sentence, caught.value.pointer))
    assert refused[0] == refused[1]


def test_named_columns_and_lists_of_columns_are_the_same_rows(folders: list[Path]) -> None:
    names = ["age", "city", "member", "income"]
    row = [40.0, "Oslo", True, 900.0]
    _, compiled = both(folders[0])
    expected = answer(compiled, [row])
    assert answer(compiled, [dict(zip(names, row, strict=True))]) == expected
    assert answer(compiled, {name: [value] for name, value in zip(names, row, strict=True)}) == expected


def test_it_says_that_it_is_compiled_and_the_original_says_why_it_serves(folders: list[Path]) -> None:
    card = ModelCard.read(folders[0])
    original, compiled = both(folders[0])
    form, reason = served(compiled, card)
    assert form == "compiled"
    assert reason.startswith("Compiled, and equal: of ")
    assert served(original, card, "cuda") == ("original", "On a GPU the original is served.")
    assert served(original, replace(card, compiled=None)) == ("original", "Nobody tried to compile the model.")


def test_neither_scikit_learn_nor_pandas_is_imported(folders: list[Path]) -> None:
    asked = (
        "import json, sys; from pathlib import Path; from inference_server.card import ModelCard;"
        "from inference_server.families.base import load_family;"
        "folder = Path(sys.argv[1]); card = ModelCard.read(folder); family = load_family(folder, card);"
        "family.render(family.predict(family.parse(card.input_example)));"
        "print(json.dumps([name for name in ('sklearn', 'pandas', 'skops', 'scipy', 'torch') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", asked, str(folders[0])], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_graph_that_onnxruntime_cannot_load_is_replaced_by_the_original(
    folders: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from onnx import TensorProto, helper

    folder = copied(folders[0], tmp_path)
    rows = helper.make_tensor_value_info("rows", TensorProto.DOUBLE, ["n", 4])
    out = helper.make_tensor_value_info("out", TensorProto.DOUBLE, ["n", 4])
    graph = helper.make_graph([helper.make_node("Identity", ["nothing"], ["out"])], "broken", [rows], [out])
    (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    card = ModelCard.read(folder)
    family = load_family(folder, card)
    assert served(family, card)[0] == "original"
    assert "cannot be loaded here" in served(family, card)[1]
    assert "The original is served." in caplog.text


def test_a_damaged_graph_is_refused(folders: list[Path], tmp_path: Path) -> None:
    folder = copied(folders[0], tmp_path)
    (folder / "model.onnx").write_bytes(b"\x08")
    with pytest.raises(ModelUnreadable, match="damaged"):
        load_family(folder, ModelCard.read(folder))


@pytest.mark.parametrize("categories", [None, {}, {"city": 5}, {"city": [1]}])
def test_a_card_without_the_categories_is_refused(folders: list[Path], categories: Any) -> None:
    card = ModelCard.read(folders[0])
    with pytest.raises(ModelUnreadable, match="must list the categories"):
        load_compiled(folders[0], replace(card, compiled={"isEqual": True, "categories": categories}))


def test_an_answer_that_is_not_finite_is_an_error_and_no_null() -> None:
    family = TabularClassification(lambda rows: np.full((len(rows), 2), np.nan), CARD)  # type: ignore[arg-type]
    with pytest.raises(ArithmeticError, match="not finite"):
        answer(family, [[1.0]])


def test_of_equal_votes_the_first_class_wins_whatever_rounding_says() -> None:
    votes = np.array([[0.5, np.nextafter(np.float32(0.5), np.float32(1))], [0.4, 0.6]], dtype=np.float32)
    family = TabularClassification(lambda rows: votes, CARD)  # type: ignore[arg-type]
    assert answer(family, [[1.0], [2.0]])["predictions"] == ["a", "b"]


def test_a_matrix_has_numbers_for_categories_and_nan_for_what_is_missing() -> None:
    features = [Feature("x", "number"), Feature("c", "category")]
    matrix = Encoder(features, {"c": ["a", "b"]}).matrix([[1, "b"], [None, None], [2.5, "new"]])
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix, [[1, 1], [np.nan, np.nan], [2.5, 2]])


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


PLAIN = st.lists(st.tuples(st.integers(-(2**63), 2**63) | st.floats(-1e100, 1e100)).map(list), min_size=1)


@given(rows=PLAIN)
def test_rows_of_nothing_but_numbers_are_taken_as_they_are(rows: Any) -> None:
    from inference_server.families.rows import RowReader

    assert RowReader([Feature("x", "number")]).read({"features": rows}) is rows
