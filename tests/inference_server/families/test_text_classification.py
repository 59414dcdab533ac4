"""Text classification answers texts by themselves, whatever stands beside them, and loads nothing that could harm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference_server.families.base import Family, InputUnreadable, ModelUnreadable
from inference_server.families.texts import MAX_CHARACTERS
from inference_server.families.transformer import ENCODERS
from inference_server.families.weights import FILE_NAME
from tests.inference_server.families.made_models import (
    CLASSES,
    LENGTH,
    image_model,
    loaded,
    reconfigure,
    text_classifier,
)

TEXTS = ["the fox", "", "one two three four five six seven " * 30, "ü 🎉 \x00 <cls> <pad>", "the lazy dog jumps"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return loaded(text_classifier(tmp_path_factory.mktemp("model")))


def test_every_text_gets_a_class_and_a_probability_for_each(model: Family) -> None:
    got = model.render(model.predict(model.parse({"texts": TEXTS})))
    assert len(got["predictions"]) == len(got["probabilities"]) == len(TEXTS)
    for prediction, probabilities in zip(got["predictions"], got["probabilities"], strict=True):
        assert tuple(probabilities) == CLASSES
        assert sum(probabilities.values()) == pytest.approx(1)
        assert prediction == max(probabilities, key=probabilities.__getitem__)
    json.dumps(got)


def test_one_text_may_be_given_alone(model: Family) -> None:
    one, many = model.parse({"text": TEXTS[0]}), model.parse({"texts": TEXTS})
    assert one[0] == many[0]


@pytest.mark.parametrize("kind", sorted(ENCODERS))
def test_an_answer_does_not_depend_on_the_neighbours(tmp_path: Path, kind: str) -> None:
    model = loaded(text_classifier(tmp_path, kind))
    rows = model.parse({"texts": TEXTS})
    together = np.stack(model.predict(rows))
    alone = np.stack([model.predict([row])[0] for row in rows])
    assert np.allclose(together, alone, atol=1e-5)
    assert len({str(output.round(4)) for output in together}) > 1


def test_more_texts_than_fit_one_step_come_back_in_order(model: Family) -> None:
    texts = [f"{number} {'dog' * (number % 7)}" for number in range(600)]
    rows = model.parse({"texts": texts})
    together = model.predict(rows)
    for place in (0, 300, 599):
        assert np.allclose(together[place], model.predict([rows[place]])[0], atol=1e-5)


def test_a_text_is_cut_at_the_length_of_the_card(model: Family) -> None:
    assert [len(row) <= LENGTH for row in model.parse({"texts": TEXTS})] == [True] * len(TEXTS)


def test_the_name_of_a_special_token_in_a_text_is_plain_text(model: Family) -> None:
    row = list(model.parse({"text": "<cls> <pad> <sep>"})[0])
    assert row[0] == 1 and row[-1] == 2
    assert not {0, 1, 2} & set(row[1:-1])


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (None, "/data"),
        ("text", "/data"),
        ({}, "/data"),
        ({"text": "a", "texts": ["b"]}, "/data"),
        ({"text": "a", "ex/tra": 1}, "/data/ex~1tra"),
        ({"text": "a", "temperature": 1}, "/data/temperature"),
        ({"texts": "a"}, "/data/texts"),
        ({"texts": []}, "/data/texts"),
        ({"texts": ["a"] * 1025}, "/data/texts"),
        ({"texts": ["a", 1]}, "/data/texts/1"),
        ({"texts": ["a", "b", None]}, "/data/texts/2"),
        ({"texts": [["a"]]}, "/data/texts/0"),
        ({"text": True}, "/data/text"),
        ({"text": "a" * (MAX_CHARACTERS + 1)}, "/data/text"),
        ({"text": "half a \ud83c pair"}, "/data/text"),
    ],
)
def test_what_is_no_text_is_refused_and_pointed_at(model: Family, data: object, pointer: str) -> None:
    with pytest.raises(InputUnreadable) as refusal:
        model.parse(data)
    assert refusal.value.pointer == pointer
    assert refusal.value.sentence.endswith(".")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "evil"},
        {"model_type": None},
        {"model_type": ["bert"]},
        {"model_type": "gpt2"},
        {"quantization_config": {"load_in_8bit": True}},
        {"dim": 1 << 22},
        {"dim": 1 << 40},
        {"dim": -32},
        {"dim": "32"},
        {"dim": 0},
        {"dim": 33},
        {"n_heads": 0},
        {"n_heads": 5},
        {"n_layers": 10_000_000},
        {"n_layers": 3},
        {"n_layers": 1},
        {"vocab_size": 1 << 24},
        {"vocab_size": 10},
        {"max_position_embeddings": 1 << 23},
        {"max_position_embeddings": "many"},
        {"max_position_embeddings": 8},
        {"pad_token_id": 1 << 20},
        {"pad_token_id": -1},
        {"activation": "os.system"},
        {"nested": {"deep": [{"layers": 1 << 30}]}},
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelUnreadable) as refusal:
        loaded(reconfigure(text_classifier(tmp_path), **changes))
    assert "\n" not in str(refusal.value)


def test_code_and_ways_of_computing_that_a_config_names_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    harmless = reconfigure(
        text_classifier(tmp_path),
        auto_map={"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
        attn_implementation="someone/evil-kernel",
        _attn_implementation="someone/evil-kernel",
        num_labels=10_000_000,
        torch_dtype="float16",
    )
    model = loaded(harmless)
    assert len(model.render(model.predict(model.parse({"text": "the dog"})))["predictions"]) == 1


@pytest.mark.parametrize("content", ["", "[]", "{", "null", '"x"', "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, content: str) -> None:
    (text_classifier(tmp_path) / "config.json").write_text(content)
    with pytest.raises(ModelUnreadable):
        loaded(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "nonsense", '{"version": "1.0", "model": {"type": "BPE"}}'])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (text_classifier(tmp_path) / "tokenizer.json").write_text(content)
    with pytest.raises(ModelUnreadable, match=r"tokenizer\.json cannot be read"):
        loaded(tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path: Path) -> None:
    path = text_classifier(tmp_path) / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 99_999, "content": "<more>"})
    path.write_text(json.dumps(content))
    with pytest.raises(ModelUnreadable, match="does not fit the model"):
        loaded(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", FILE_NAME])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    (text_classifier(tmp_path) / missing).unlink()
    with pytest.raises(ModelUnreadable, match=missing):
        loaded(tmp_path)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    text_classifier(tmp_path)
    (tmp_path / FILE_NAME).rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelUnreadable, match="never read from a pickle"):
        loaded(tmp_path)
    torch.save({"a": torch.zeros(2)}, tmp_path / FILE_NAME)
    with pytest.raises(ModelUnreadable, match="not a whole safetensors file"):
        loaded(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    foreign = (image_model(tmp_path / "image") / FILE_NAME).read_bytes()
    (text_classifier(tmp_path) / FILE_NAME).write_bytes(foreign)
    with pytest.raises(ModelUnreadable):
        loaded(tmp_path)


@pytest.mark.parametrize("details", [{}, {"text": None}, {"text": {"maxLength": "32"}}, {"text": {"maxLength": 34}}])
def test_a_card_without_a_length_that_fits_is_refused(tmp_path: Path, details: dict[str, Any]) -> None:
    with pytest.raises(ModelUnreadable, match=r"text\.maxLength"):
        loaded(text_classifier(tmp_path, details=details))


def test_a_card_with_other_classes_than_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable, match="classifier"):
        loaded(text_classifier(tmp_path, classes=("a", "b", "c", "d")))
