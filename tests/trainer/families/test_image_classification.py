"""Image classification learns from a folder a class, goes on where it stopped, and says what is wrong with data."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference_server.families.weights import FILE_NAME
from tests.trainer.families.made_data import coloured_shapes
from tests.trainer.families.rehearsal import answer, interrupted_and_resumed, prepared, saved, served, trained
from trainer.datasets import image_folders, split_indices
from trainer.families.base import DataUnreadable, Family, TrainingFailed

FAMILY = "image_classification"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured_shapes(tmp_path_factory.mktemp("shapes") / "dataset")


@pytest.fixture(scope="module")
def fitted(dataset: Path) -> Family:
    return trained(FAMILY, dataset)


@pytest.fixture(scope="module")
def model(fitted: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(fitted, tmp_path_factory.mktemp("model") / "model")


def test_it_tells_held_out_images_apart(fitted: Family) -> None:
    assert fitted.measure()["accuracy"] >= 0.9


def test_every_epoch_reports_losses_and_held_out_metrics(dataset: Path) -> None:
    epochs = list(prepared(FAMILY, dataset, numEpoch=2).epochs())
    assert [(epoch.number, epoch.of) for epoch in epochs] == [(1, 2), (2, 2)]
    assert set(epochs[0].metrics) == {"train_loss", "accuracy", "f1_macro", "loss"}


def test_the_server_answers_the_held_out_images_exactly_as_the_trainer_measured(
    dataset: Path, fitted: Family, model: Path
) -> None:
    files = image_folders(dataset)
    labels = [name for _, name in files]
    _, test = split_indices(len(files), 0.25, 0, labels)
    images = [base64.b64encode(files[row][0].read_bytes()).decode() for row in test]
    got = answer(served(model), {"images": images})
    right = [got["predictions"][place] == labels[row] for place, row in enumerate(test)]
    loss = -np.mean([np.log(got["probabilities"][place][labels[row]]) for place, row in enumerate(test)])
    assert np.mean(right) == fitted.measure()["accuracy"]
    assert loss == pytest.approx(fitted.measure()["loss"], rel=1e-5)


def test_the_card_names_the_classes_and_carries_a_small_example_that_is_answered(fitted: Family, model: Path) -> None:
    from inference_server.card import ModelCard

    card = ModelCard.read(model)
    assert card.classes == ("blue", "green", "red")
    assert card.details["image"]["size"] == 16
    assert len(card.input_example["images"][0]) < 5000
    assert answer(served(model), card.input_example)["predictions"][0] in card.classes


def test_two_epochs_a_checkpoint_and_two_more_are_four_epochs(dataset: Path, fitted: Family, tmp_path: Path) -> None:
    resumed = interrupted_and_resumed(FAMILY, dataset, tmp_path / "checkpoint", stop_after=2)
    assert resumed.measure() == fitted.measure()
    first, second = saved(fitted, tmp_path / "straight"), saved(resumed, tmp_path / "resumed")
    assert (first / FILE_NAME).read_bytes() == (second / FILE_NAME).read_bytes()


def test_a_checkpoint_holds_no_pickle(fitted: Family, tmp_path: Path) -> None:
    fitted.checkpoint(tmp_path)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors", ".safetensors"]


def test_another_seed_begins_elsewhere_and_the_same_seed_in_the_same_place(dataset: Path) -> None:
    losses = [next(iter(prepared(FAMILY, dataset, seed=seed).epochs())).metrics["train_loss"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_of_a_wild_learning_rate_is_reported_as_a_failure_with_advice(dataset: Path) -> None:
    with pytest.raises(TrainingFailed, match="Use a smaller learningRate"):
        list(prepared(FAMILY, dataset, learningRate=1e30).epochs())


def test_one_image_a_step_is_possible(dataset: Path) -> None:
    epoch = next(iter(prepared(FAMILY, dataset, numBatch=1, imageSize=8).epochs()))
    assert np.isfinite(epoch.metrics["train_loss"])


def test_one_broken_image_is_left_out_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = coloured_shapes(tmp_path / "dataset")
    (dataset / "red" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    with caplog.at_level(logging.WARNING):
        family = prepared(FAMILY, dataset)
    assert "red/003.png" in caplog.text
    assert family.measure()["train_rows"] + family.measure()["test_rows"] == 59


def test_many_broken_images_are_a_broken_dataset_and_the_first_is_named(tmp_path: Path) -> None:
    dataset = coloured_shapes(tmp_path / "dataset")
    for number in range(4):
        (dataset / "green" / f"{number:03}.png").write_text("not an image")
    with pytest.raises(DataUnreadable, match=r"4 of the dataset's 60 images cannot be read; .* green/000.png"):
        prepared(FAMILY, dataset)


def test_a_decompression_bomb_is_a_broken_image(tmp_path: Path) -> None:
    dataset = coloured_shapes(tmp_path / "dataset", images=5)
    Image.new("1", (20_000, 20_000)).save(dataset / "red" / "000.png")
    with pytest.raises(DataUnreadable, match=r"red/000\.png"):
        prepared(FAMILY, dataset)


def test_grey_transparent_and_rotated_images_of_any_size_are_read(tmp_path: Path) -> None:
    dataset = coloured_shapes(tmp_path / "dataset", images=8)
    Image.new("RGBA", (50, 10), (1, 2, 3, 100)).save(dataset / "red" / "a.png")
    Image.new("L", (3, 90), 77).save(dataset / "red" / "b.gif")
    Image.new("P", (30, 30)).save(dataset / "blue" / "c.bmp")
    Image.new("I;16", (30, 30), 40_000).save(dataset / "blue" / "d.png")
    assert prepared(FAMILY, dataset).measure()["train_rows"] > 0


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="two or more"):
        prepared(FAMILY, coloured_shapes(tmp_path / "dataset", classes=("red",)))


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="too few images: 6"):
        prepared(FAMILY, coloured_shapes(tmp_path / "dataset", images=2))


def test_a_table_is_no_image_folder(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataUnreadable, match="image folders"):
        prepared(FAMILY, tmp_path / "table.csv")


def test_a_warm_start_begins_with_what_the_initial_model_knew(dataset: Path, fitted: Family, model: Path) -> None:
    assert prepared(FAMILY, dataset, initial=model).measure() == fitted.measure()


def test_a_warm_start_from_other_classes_is_refused(model: Path, tmp_path: Path) -> None:
    dataset = coloured_shapes(tmp_path / "dataset", classes=("blue", "red"))
    with pytest.raises(DataUnreadable, match=r"knows the classes blue, green, red; the dataset has blue, red\."):
        prepared(FAMILY, dataset, initial=model)


def test_a_warm_start_with_another_image_size_is_refused(dataset: Path, model: Path) -> None:
    with pytest.raises(DataUnreadable, match="sees 16 pixels a side; imageSize is 32"):
        prepared(FAMILY, dataset, initial=model, imageSize=32)


def test_a_warm_start_from_a_folder_without_a_card_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="has no card"):
        prepared(FAMILY, dataset, initial=tmp_path)


def test_a_warm_start_from_a_pickle_is_refused(dataset: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "modelyard.json").write_bytes((model / "modelyard.json").read_bytes())
    (tmp_path / "model.pt").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataUnreadable, match=r"has no model\.safetensors; weights are never read from a pickle"):
        prepared(FAMILY, dataset, initial=tmp_path)


def test_the_signature_takes_images_and_gives_predictions(fitted: Family) -> None:
    signature = fitted.signature()
    assert (signature.inputs.input_names(), signature.outputs.input_names()) == (["images"], ["predictions"])
