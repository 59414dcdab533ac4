"""Text classification learns classes of texts from a table, alone or from an earlier model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM

from inference_server.card import ModelCard
from inference_server.families.weights import FILE_NAME
from tests.trainer.families.made_data import reviews
from tests.trainer.families.rehearsal import answer, interrupted_and_resumed, prepared, saved, served, trained
from trainer.datasets import read_table, split_indices
from trainer.families.base import DataUnreadable, Family
from trainer.families.vocabulary import learn_tokenizer

FAMILY = "text_classification"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reviews(tmp_path_factory.mktemp("reviews") / "reviews.csv")


@pytest.fixture(scope="module")
def fitted(dataset: Path) -> Family:
    return trained(FAMILY, dataset)


@pytest.fixture(scope="module")
def model(fitted: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(fitted, tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A folder as Hugging Face's hub has them: a pretrained BERT, not a classifier yet."""
    folder = tmp_path / "bert"
    folder.mkdir()
    tokenizer = learn_tokenizer(["the film was good", "a book"] * 3, ["[PAD]", "[CLS]", "[SEP]"], "[CLS] $A [SEP]")
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def test_it_tells_held_out_texts_apart(fitted: Family) -> None:
    assert fitted.measure()["accuracy"] >= 0.95


def test_the_server_answers_the_held_out_texts_exactly_as_the_trainer_measured(
    dataset: Path, fitted: Family, model: Path
) -> None:
    table = read_table(dataset)
    _, test = split_indices(len(table), 0.25, 0, table["label"])
    got = answer(served(model), {"texts": list(table["text"][test])})
    labels = list(table["label"][test])
    assert np.mean([a == b for a, b in zip(got["predictions"], labels, strict=True)]) == fitted.measure()["accuracy"]
    loss = -np.mean([np.log(row[label]) for row, label in zip(got["probabilities"], labels, strict=True)])
    assert loss == pytest.approx(fitted.measure()["loss"], rel=1e-4)


def test_the_card_names_target_and_classes_and_its_example_is_answered(model: Path) -> None:
    card = ModelCard.read(model)
    assert (card.target, card.classes, card.details) == ("label", ("bad", "good"), {"text": {"maxLength": 24}})
    assert answer(served(model), card.input_example)["predictions"][0] in ("bad", "good")


def test_two_epochs_a_checkpoint_and_two_more_are_four_epochs(dataset: Path, fitted: Family, tmp_path: Path) -> None:
    resumed = interrupted_and_resumed(FAMILY, dataset, tmp_path / "checkpoint", stop_after=2)
    assert resumed.measure() == fitted.measure()
    first, second = saved(fitted, tmp_path / "straight"), saved(resumed, tmp_path / "resumed")
    assert (first / FILE_NAME).read_bytes() == (second / FILE_NAME).read_bytes()


def test_the_tokenizer_learns_from_training_texts_only(dataset: Path, tmp_path: Path) -> None:
    table = read_table(dataset)
    _, test = split_indices(len(table), 0.25, 0, table["label"])
    table.loc[test, "text"] += " zyzzyva zyzzyva"
    table.to_csv(tmp_path / "table.csv")
    folder = saved(prepared(FAMILY, tmp_path / "table.csv"), tmp_path / "model")
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    assert any("was" in token for token in vocabulary)
    assert not any("zz" in token for token in vocabulary)


def test_columns_are_found_by_name_kind_or_hyperparameter(dataset: Path, tmp_path: Path) -> None:
    table = read_table(dataset).rename(columns={"text": "review", "label": "stars"})
    table["stars"] = (table["stars"] == "good").astype(int)
    table["id"] = range(len(table))
    table.to_csv(tmp_path / "table.csv", index=False)
    family = prepared(FAMILY, tmp_path / "table.csv", textColumn="review", targetColumn="stars")
    assert ModelCard.read(saved(family, tmp_path / "model")).classes == (0, 1)
    with pytest.raises(DataUnreadable, match="no column 'stras'"):
        prepared(FAMILY, tmp_path / "table.csv", targetColumn="stras")


def test_a_column_named_target_is_not_taken_for_the_text(dataset: Path, tmp_path: Path) -> None:
    table = read_table(dataset).rename(columns={"text": "review", "label": "target"})
    table[["target", "review"]].to_csv(tmp_path / "table.csv", index=False)
    assert ModelCard.read(saved(prepared(FAMILY, tmp_path / "table.csv"), tmp_path / "model")).target == "target"


def test_rows_without_text_or_label_are_left_out(dataset: Path, tmp_path: Path) -> None:
    table = read_table(dataset)
    table.loc[:2, "text"] = None
    table.loc[3:5, "label"] = None
    table.to_csv(tmp_path / "table.csv", index=False)
    measured = prepared(FAMILY, tmp_path / "table.csv").measure()
    assert measured["train_rows"] + measured["test_rows"] == len(table) - 6


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"text": ["a b"] * 20, "label": ["x"] * 20}, "one class only"),
        ({"text": ["a b"] * 50, "label": [f"x{number}" for number in range(50)]}, "50 distinct values"),
        ({"text": [1.5] * 20, "label": [0, 1] * 10}, "'text' holds no texts"),
        ({"number": range(20), "label": [0, 1] * 10}, "no column of text"),
        ({"only": ["a", "b"] * 10}, "no column of text"),
        ({"text": [None] * 20, "label": [0, 1] * 10}, "'text' holds no texts"),
    ],
)
def test_unfit_tables_are_refused_with_a_sentence(table: dict[str, object], sentence: str, tmp_path: Path) -> None:
    pd.DataFrame(table).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(DataUnreadable, match=sentence):
        prepared(FAMILY, tmp_path / "table.csv")


def test_one_column_cannot_be_both_text_and_target(dataset: Path) -> None:
    with pytest.raises(DataUnreadable, match="cannot be the text and the target as well"):
        prepared(FAMILY, dataset, textColumn="text", targetColumn="text")


def test_a_warm_start_from_a_model_of_ours_begins_with_what_it_knew(dataset: Path, fitted: Family, model: Path) -> None:
    assert prepared(FAMILY, dataset, initial=model).measure() == fitted.measure()


def test_a_warm_start_from_hugging_face_keeps_the_body_and_gets_a_new_head(
    dataset: Path, bert: Path, tmp_path: Path
) -> None:
    family = prepared(FAMILY, dataset, initial=bert, numEpoch=10)
    body = BertForMaskedLM.from_pretrained(bert).bert.encoder.layer[0].attention.self.query.weight
    model = served(saved(family, tmp_path / "before"))
    assert torch.equal(model._model.bert.encoder.layer[0].attention.self.query.weight, body)
    for _ in family.epochs():
        pass
    answered = answer(served(saved(family, tmp_path / "after")), {"text": "the book was superb here"})
    assert answered["predictions"] == ["good"]


def test_a_warm_start_from_other_classes_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="knows the classes bad, good; the dataset has no, yes"):
        prepared(FAMILY, reviews(tmp_path / "table.csv", labels=("no", "yes")), initial=model)


def test_a_warm_start_that_reads_less_than_max_length_is_refused(dataset: Path, model: Path) -> None:
    with pytest.raises(DataUnreadable, match="reads 24 tokens at most; maxLength 32 is more"):
        prepared(FAMILY, dataset, initial=model, maxLength=32)


def test_a_warm_start_from_pickled_weights_is_refused(dataset: Path, bert: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    with pytest.raises(DataUnreadable, match="weights are never read from a pickle"):
        prepared(FAMILY, dataset, initial=bert)


def test_a_warm_start_from_an_unknown_kind_of_model_is_refused(dataset: Path, bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(DataUnreadable, match="model_type 'evil'"):
        prepared(FAMILY, dataset, initial=bert)


def test_a_warm_start_whose_config_declares_more_than_its_weights_is_refused(dataset: Path, bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "hidden_size": 1 << 20}))
    with pytest.raises(DataUnreadable, match=r"declares \d+ weights"):
        prepared(FAMILY, dataset, initial=bert)


def test_a_warm_start_that_lacks_a_layer_is_refused(dataset: Path, bert: Path) -> None:
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(DataUnreadable, match=r"lacks the weights bert\.encoder\.layer\.2"):
        prepared(FAMILY, dataset, initial=bert)


def test_a_warm_start_from_another_family_is_refused(dataset: Path, model: Path, tmp_path: Path) -> None:
    card = json.loads((model / "modelyard.json").read_text())
    (tmp_path / "modelyard.json").write_text(json.dumps({**card, "family": "text_generation"}))
    with pytest.raises(DataUnreadable, match="of the family text_generation"):
        prepared(FAMILY, dataset, initial=tmp_path)


def test_a_file_is_no_initial_model(dataset: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"'reviews\.csv' is a file"):
        prepared(FAMILY, dataset, initial=dataset)


def test_the_signature_takes_a_text(fitted: Family) -> None:
    assert fitted.signature().inputs.input_names() == ["text"]
