"""Text generation learns to go on with texts from a file's paragraphs or a table's column."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from inference_server.card import ModelCard
from inference_server.families.weights import FILE_NAME
from tests.trainer.families.made_data import countings
from tests.trainer.families.rehearsal import answer, interrupted_and_resumed, prepared, saved, served, trained
from trainer.families.base import DataUnreadable, Family
from trainer.families.text_generation import pieces, read_texts
from trainer.families.vocabulary import learn_tokenizer

FAMILY = "text_generation"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return countings(tmp_path_factory.mktemp("countings") / "countings.txt")


@pytest.fixture(scope="module")
def fitted(dataset: Path) -> Family:
    return trained(FAMILY, dataset, numEpoch=10)


@pytest.fixture(scope="module")
def model(fitted: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(fitted, tmp_path_factory.mktemp("model") / "model")


def test_it_learns_what_follows(fitted: Family, model: Path) -> None:
    assert fitted.measure()["perplexity"] < 2
    got = answer(served(model), {"texts": ["three four", "one two"], "maxNewTokens": 20})
    assert got["predictions"] == [" five six seven eight nine ten", " three four five six seven eight nine ten"]


def test_perplexity_is_the_exponential_of_the_loss(dataset: Path) -> None:
    metrics = next(iter(prepared(FAMILY, dataset).epochs())).metrics
    assert set(metrics) == {"train_loss", "loss", "perplexity"}
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))


def test_the_cards_example_is_answered(model: Path) -> None:
    card = ModelCard.read(model)
    assert isinstance(answer(served(model), card.input_example)["predictions"][0], str)


def test_two_epochs_a_checkpoint_and_two_more_are_four_epochs(dataset: Path, tmp_path: Path) -> None:
    straight = trained(FAMILY, dataset)
    resumed = interrupted_and_resumed(FAMILY, dataset, tmp_path / "checkpoint", stop_after=2)
    assert resumed.measure() == straight.measure()
    first, second = saved(straight, tmp_path / "straight"), saved(resumed, tmp_path / "resumed")
    assert (first / FILE_NAME).read_bytes() == (second / FILE_NAME).read_bytes()


def test_every_token_but_the_first_is_predicted_once() -> None:
    assert pieces(list(range(10)), 4) == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9]]
    assert pieces(list(range(9)), 4) == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]
    assert pieces([0], 4) == []


def test_texts_longer_than_max_length_are_learnt_whole_in_pieces(tmp_path: Path) -> None:
    texts = [" ".join(f"w{number}" for number in range(60))] * 20
    pd.DataFrame({"text": texts}).to_csv(tmp_path / "table.csv", index=False)
    short, long = (prepared(FAMILY, tmp_path / "table.csv", maxLength=length).measure() for length in (16, 256))
    assert short["train_rows"] > long["train_rows"] == 15


def test_a_table_gives_its_text_column_and_a_file_its_paragraphs_or_lines(tmp_path: Path) -> None:
    pd.DataFrame({"id": range(12), "story": [f"a story {number}" for number in range(12)]}).to_csv(
        tmp_path / "table.csv", index=False
    )
    (tmp_path / "paragraphs.txt").write_text("\n\n".join(f"a\nparagraph {number}" for number in range(12)))
    (tmp_path / "lines.txt").write_text("\n".join(f"a line {number}" for number in range(12)))
    assert read_texts(tmp_path / "table.csv", "")[3] == "a story 3"
    assert read_texts(tmp_path / "paragraphs.txt", "")[3] == "a\nparagraph 3"
    assert read_texts(tmp_path / "lines.txt", "")[3] == "a line 3"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "too few texts: 0"),
        (b"one\n\ntwo", "too few texts: 2"),
        (b"caf\xe9 au lait\n" * 20, "not UTF-8 text: byte 3"),
    ],
)
def test_unfit_text_files_are_refused_with_a_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_bytes(content)
    with pytest.raises(DataUnreadable, match=sentence):
        prepared(FAMILY, tmp_path / "texts.txt")


def test_a_warm_start_from_a_model_of_ours_begins_with_what_it_knew(dataset: Path, fitted: Family, model: Path) -> None:
    assert prepared(FAMILY, dataset, initial=model).measure() == fitted.measure()


def test_a_warm_start_from_hugging_face_keeps_every_weight_and_is_served(dataset: Path, tmp_path: Path) -> None:
    hub = tmp_path / "gpt2"
    hub.mkdir()
    tokenizer = learn_tokenizer(["one two three"] * 3, ["<|endoftext|>"], "$A")
    tokenizer.save(str(hub / "tokenizer.json"))
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    theirs = GPT2LMHeadModel(config)
    theirs.save_pretrained(hub)
    model = served(saved(prepared(FAMILY, dataset, initial=hub), tmp_path / "model"))
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), model._model.parameters(), strict=True))
    assert isinstance(answer(model, {"text": "", "maxNewTokens": 3})["predictions"][0], str)


def test_a_warm_start_from_an_encoder_is_refused(dataset: Path, model: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataUnreadable, match="model_type 'bert'; loaded are gpt2"):
        prepared(FAMILY, dataset, initial=tmp_path)
