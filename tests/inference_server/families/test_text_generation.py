"""Text generation continues every prompt by itself: greedy, or drawn by a seed, whatever stands beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference_server.families.base import Family, InputUnreadable, ModelUnreadable
from inference_server.families.transformer import DECODERS
from tests.inference_server.families.made_models import LENGTH, loaded, reconfigure, text_generator

PROMPTS = ["the quick", "", "one two three four five", "ü 🎉 <end>", "dog " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_generator(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Family:
    return loaded(folder)


def predictions(model: Family, data: dict[str, Any]) -> list[str]:
    answer = model.render(model.predict(model.parse(data)))
    json.dumps(answer)
    assert set(answer) == {"predictions"}
    return list(answer["predictions"])


@pytest.mark.parametrize("kind", sorted(DECODERS))
def test_a_continuation_does_not_depend_on_the_neighbours(tmp_path: Path, kind: str) -> None:
    model = loaded(text_generator(tmp_path, kind))
    together = predictions(model, {"texts": PROMPTS, "maxNewTokens": 12})
    assert together == [predictions(model, {"text": prompt, "maxNewTokens": 12})[0] for prompt in PROMPTS]
    assert len(set(together)) > 1


def test_greedy_decoding_is_that_of_transformers(folder: Path, model: Family) -> None:
    row = model.parse({"text": "the quick", "maxNewTokens": 10})[0]
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([list(row.ids)])
    for _ in range(10):
        token = theirs(ids).logits[0, -1].argmax()
        if token == 0:
            break
        ids = torch.cat([ids, token.view(1, 1)], dim=1)
    ours = model.predict([row])[0]
    assert ours == model._tokenizer.decode(ids[0, len(row.ids) :].tolist())


def test_rows_of_one_batch_keep_their_own_options(model: Family) -> None:
    requests: list[dict[str, Any]] = [
        {"text": "the quick", "maxNewTokens": 3},
        {"text": "the quick", "maxNewTokens": 20, "temperature": 1.5, "seed": 1},
        {"text": "one two", "maxNewTokens": 31, "temperature": 0.7, "topP": 0.5, "seed": 2},
        {"text": "one " * 30, "maxNewTokens": 2},
    ]
    together = model.predict([model.parse(request)[0] for request in requests])
    assert list(together) == [predictions(model, request)[0] for request in requests]


def test_a_seed_fixes_the_draw_and_another_seed_changes_it(model: Family) -> None:
    draw = {"texts": PROMPTS, "maxNewTokens": 12, "temperature": 1.0}
    assert predictions(model, {**draw, "seed": 7}) == predictions(model, {**draw, "seed": 7})
    assert predictions(model, {**draw, "seed": 7}) != predictions(model, {**draw, "seed": 8})


def test_without_a_seed_every_request_draws_anew(model: Family) -> None:
    draw = {"texts": PROMPTS, "maxNewTokens": 20, "temperature": 2}
    assert predictions(model, draw) != predictions(model, draw)


def test_a_narrow_nucleus_and_a_tiny_temperature_are_greedy(model: Family) -> None:
    greedy = predictions(model, {"texts": PROMPTS, "maxNewTokens": 8})
    assert predictions(model, {"texts": PROMPTS, "maxNewTokens": 8, "temperature": 1, "topP": 1e-9}) == greedy
    assert predictions(model, {"texts": PROMPTS, "maxNewTokens": 8, "temperature": 1e-300}) == greedy


def test_a_prompt_that_leaves_no_room_keeps_its_end(model: Family) -> None:
    row = model.parse({"text": "dog " * 100, "maxNewTokens": 10})[0]
    assert len(row.ids) == LENGTH - 10
    assert predictions(model, {"text": "cat " + "dog " * 100, "maxNewTokens": 31})


def test_the_name_of_a_special_token_in_a_prompt_is_plain_text(model: Family) -> None:
    assert list(model.parse({"text": "<end>"})[0].ids).count(0) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"maxNewTokens": 0}, "/data/maxNewTokens"),
        ({"maxNewTokens": LENGTH}, "/data/maxNewTokens"),
        ({"maxNewTokens": 1.0}, "/data/maxNewTokens"),
        ({"maxNewTokens": True}, "/data/maxNewTokens"),
        ({"maxNewTokens": None}, "/data/maxNewTokens"),
        ({"maxNewTokens": 10**30}, "/data/maxNewTokens"),
        ({"temperature": -0.1}, "/data/temperature"),
        ({"temperature": 2.1}, "/data/temperature"),
        ({"temperature": "1"}, "/data/temperature"),
        ({"temperature": True}, "/data/temperature"),
        ({"temperature": float("nan")}, "/data/temperature"),
        ({"temperature": 10**400}, "/data/temperature"),
        ({"topP": 0}, "/data/topP"),
        ({"topP": 1.01}, "/data/topP"),
        ({"topP": [1]}, "/data/topP"),
        ({"seed": -1}, "/data/seed"),
        ({"seed": 2**32}, "/data/seed"),
        ({"seed": "1"}, "/data/seed"),
        ({"stop": ["x"]}, "/data/stop"),
        ({"texts": ["b"]}, "/data"),
    ],
)
def test_options_out_of_range_are_refused_and_pointed_at(model: Family, change: dict[str, Any], pointer: str) -> None:
    with pytest.raises(InputUnreadable) as refusal:
        model.parse({"text": "a", **change})
    assert refusal.value.pointer == pointer


def test_too_many_texts_are_refused(model: Family) -> None:
    with pytest.raises(InputUnreadable, match="1 to 64"):
        model.parse({"texts": ["a"] * 65})


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "bert"},
        {"n_layer": 1 << 23},
        {"n_embd": 1 << 20},
        {"n_positions": 1 << 22},
        {"n_positions": 1.5},
        {"bos_token_id": 1 << 20},
        {"eos_token_id": [0, 1 << 20]},
        {"eos_token_id": ["0"]},
        {"vocab_size": 3},
    ],
)
def test_a_config_that_does_not_fit_the_weights_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelUnreadable):
        loaded(reconfigure(text_generator(tmp_path), **changes))


def test_an_end_token_ends_the_text(tmp_path: Path, folder: Path, model: Family) -> None:
    row = model.parse({"text": "the quick", "maxNewTokens": 5})[0]
    logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([list(row.ids)])).logits
    first = int(logits[0, -1].argmax())
    ending = loaded(reconfigure(text_generator(tmp_path), eos_token_id=[0, first]))
    assert predictions(ending, {"text": "the quick", "maxNewTokens": 5}) == [""]


def test_an_empty_prompt_needs_a_token_to_begin_with(tmp_path: Path) -> None:
    folder = reconfigure(text_generator(tmp_path), bos_token_id=None)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "bos_token_id": None}))
    with pytest.raises(InputUnreadable, match="cannot begin by itself"):
        loaded(folder).parse({"text": ""})
