"""Text generation continues every prompt by itself: greedy, or drawn by a seed, whatever stands beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference_server.families.base import Family, InputUnreadable, ModelUnreadable, Piece
from inference_server.families.decoding import Continuation
from inference_server.families.transformer import DECODERS
from inference_server.families.writing import Writing
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


def streamed(model: Any, data: dict[str, Any]) -> list[list[Piece]]:
    """The pieces of each row."""
    rows = model.parse(data)
    pieces = [piece for step in model.stream(rows) for piece in step]
    return [[piece for piece in pieces if piece.row == row] for row in range(len(rows))]


def test_what_is_streamed_adds_up_to_the_prediction(model: Family) -> None:
    data = {"texts": [*PROMPTS, *["one"] * 20], "maxNewTokens": 20, "temperature": 2, "seed": 5}
    pieces = streamed(model, data)
    assert ["".join(piece.text for piece in row) for row in pieces] == predictions(model, data)
    for row in pieces:
        assert [piece.ending for piece in row[:-1]] == [""] * (len(row) - 1)
        assert row[-1].ending in ("stop", "length")
        assert (row[-1].ending == "length") == (sum(piece.tokens for piece in row) == 20)
    assert any(len([piece for piece in row if piece.text]) > 3 for row in pieces)


def test_streams_that_take_turns_do_not_disturb_each_other(model: Any) -> None:
    data = {"text": "the quick", "maxNewTokens": 20, "temperature": 2, "seed": 5}
    streams = [model.stream(model.parse({**data, "seed": seed})) for seed in (5, 6)]
    texts = ["", ""]
    while streams[0] or streams[1]:
        for at, stream in enumerate(streams):
            step = next(stream, None) if stream else None
            streams[at] = stream if step else None
            texts[at] += step[0].text if step else ""
        assert not torch.is_inference_mode_enabled()
    assert texts == [predictions(model, {**data, "seed": seed})[0] for seed in (5, 6)]


def test_the_first_stop_ends_the_text_and_is_left_out(model: Family) -> None:
    whole = predictions(model, {"text": "the quick", "maxNewTokens": 20})[0]
    for start, end in ((3, 4), (4, 9), (len(whole) - 2, len(whole)), (0, 1)):
        stop = whole[start:end]
        data = {"text": "the quick", "maxNewTokens": 20, "stop": ["never in it", stop]}
        [pieces] = streamed(model, data)
        expected = whole[: whole.find(stop)]
        assert "".join(piece.text for piece in pieces) == predictions(model, data)[0] == expected
        assert pieces[-1].ending == "stop"


def test_what_only_begins_like_a_stop_is_given_in_the_end(model: Family) -> None:
    whole = predictions(model, {"text": "the quick", "maxNewTokens": 20})[0]
    data = {"text": "the quick", "maxNewTokens": 20, "stop": whole[-3:] + "more"}
    assert predictions(model, data) == [whole]


def test_no_piece_ends_inside_a_character(tmp_path: Path) -> None:
    model: Any = loaded(text_generator(tmp_path))
    emoji = model._tokenizer.encode("a🎉ü").ids
    row = Continuation(model.parse({"text": "x", "maxNewTokens": 20})[0], ())
    writing, texts = Writing(0, row, model._tokenizer), []
    for token in emoji[1:]:
        row.tokens.append(token)
        texts.append(writing.piece().text)
    assert "".join(texts) == "a🎉ü"
    assert len(texts) > len([text for text in texts if text]) == 3


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
        ({"stop": [""]}, "/data/stop"),
        ({"stop": 1}, "/data/stop"),
        ({"stop": ["x"] * 17}, "/data/stop"),
        ({"halt": ["x"]}, "/data/halt"),
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
