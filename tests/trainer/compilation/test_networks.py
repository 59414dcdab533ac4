"""Compiling networks: images and texts as graphs that answer as PyTorch does, and are served without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference_server.card import ModelCard
from inference_server.families.base import InputUnreadable, ModelUnreadable, load_compiled, load_original
from tests.trainer.families.made_data import coloured_shapes, countings, reviews
from tests.trainer.families.rehearsal import answer, prepared, saved
from trainer.compilation.compiling import compile_model

NAMES = ["image_classification", "text_classification"]
WRONG: Mapping[str, list[Any]] = {
    "image_classification": [None, {}, {"images": []}, {"image": 5}, {"image": "no base64"}, {"image": [[1], [1, 2]]}],
    "text_classification": [None, {}, {"texts": []}, {"text": 5}, {"texts": ["a", None]}, {"text": "a", "more": 1}],
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family, as it is before its first epoch, compiled."""
    home = tmp_path_factory.mktemp("networks")
    data = {NAMES[0]: coloured_shapes(home / "images"), NAMES[1]: reviews(home / "reviews.csv")}
    return {name: compiled(name, data[name], home / name) for name in NAMES}


def compiled(name: str, dataset: Path, folder: Path) -> Path:
    family = prepared(name, dataset)
    saved(family, folder)
    found = compile_model(folder, family.held_out())
    replace(ModelCard.read(folder), compiled=found).write(folder)
    return folder


def both(folder: Path) -> tuple[Any, Any]:
    card = ModelCard.read(folder)
    return load_original(folder, card), load_compiled(folder, card, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_equal_on_held_out_rows(folders: dict[str, Path], name: str) -> None:
    found = ModelCard.read(folders[name]).compiled or {}
    assert found["isEqual"], found
    assert found["rows"] >= 15
    assert found["differentClasses"] == 0
    assert found["largestDifference"] <= found["tolerance"] == 1e-5


def test_texts_of_any_length_and_in_any_company_are_answered_alike(folders: dict[str, Path]) -> None:
    original, graph = both(folders["text_classification"])
    texts = ["", "a", "the film was lovely here", "dull " * 200, "\N{SNOWMAN}" * 50]
    expected, together = answer(original, {"texts": texts}), answer(graph, {"texts": texts})
    assert together["predictions"] == expected["predictions"]
    for text, one, other in zip(texts, expected["probabilities"], together["probabilities"], strict=True):
        assert other == pytest.approx(one, abs=1e-5)
        assert answer(graph, {"text": text})["probabilities"][0] == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_it_refuses_with_the_originals_words(folders: dict[str, Path], name: str) -> None:
    for data in WRONG[name]:
        refused = []
        for family in both(folders[name]):
            with pytest.raises(InputUnreadable) as caught:
                family.parse(data)
            refused.append((caught.value.sentence, caught.value.pointer))
        assert refused[0] == refused[1]


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_is_not_imported(folders: dict[str, Path], name: str) -> None:
    asked = (
        "import json, sys; from pathlib import Path; from inference_server.card import ModelCard;"
        "from inference_server.families.base import load_family;"
        "folder = Path(sys.argv[1]); card = ModelCard.read(folder); family = load_family(folder, card);"
        "family.render(family.predict(family.parse(card.input_example)));"
        "print(json.dumps([name for name in ('torch', 'transformers', 'sklearn', 'pandas') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", asked, str(folders[name])], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("tokens", [None, {}, {"pad": -1, "vocabulary": 500}, {"pad": 0, "vocabulary": 1 << 40}])
def test_a_card_without_the_tokens_sizes_is_refused(folders: dict[str, Path], tokens: Any) -> None:
    folder = folders["text_classification"]
    with pytest.raises(ModelUnreadable, match="The model card must say"):
        load_compiled(folder, replace(ModelCard.read(folder), compiled={"isEqual": True, "tokens": tokens}), 1)


def test_text_generation_is_not_compiled_and_says_so(tmp_path: Path) -> None:
    family = prepared("text_generation", countings(tmp_path / "texts.txt"))
    folder = saved(family, tmp_path / "model")
    assert compile_model(folder, family.held_out()) == {
        "isEqual": False,
        "reason": "Models of the family text_generation are not compiled: they answer step by step.",
    }
