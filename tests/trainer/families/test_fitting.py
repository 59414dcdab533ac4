"""Fitting says what went wrong: a GPU that is not there, a full disk, a loss that leaves all bounds."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from tests.trainer.families.made_data import coloured_shapes, countings, reviews
from tests.trainer.families.rehearsal import SETTINGS, prepared
from trainer.families.base import FAMILIES, TrainingFailed, family_class

DATASETS = {"image_classification": coloured_shapes, "text_classification": reviews, "text_generation": countings}
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here, so its absence stays unproved")


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_loss_without_bounds_is_a_failure_with_advice(name: str, tmp_path: Path) -> None:
    dataset = DATASETS[name](tmp_path / "dataset.txt" if name == "text_generation" else tmp_path / "dataset")
    with pytest.raises(TrainingFailed, match="Use a smaller learningRate"):
        list(prepared(name, dataset, learningRate=1e30).epochs())


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_hyperparameter_that_is_missing_is_noticed_at_once(name: str) -> None:
    assert name in FAMILIES
    for missing in ("numEpoch", "learningRate", "numBatch", "testFraction", "seed"):
        with pytest.raises(KeyError, match=missing):
            family_class(name)({key: value for key, value in SETTINGS.items() if key != missing}, "cpu")


@needs_no_gpu
@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_gpu_that_is_not_there_is_said_before_the_data_is_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match="useGpu"):
        family_class(name)(SETTINGS, "cuda").prepare(tmp_path / "nothing", None)


def test_a_checkpoint_that_cannot_be_written_is_an_os_error_with_its_number(tmp_path: Path) -> None:
    family = prepared("text_classification", reviews(tmp_path / "reviews.csv"))
    with pytest.raises(OSError) as failure:
        family.checkpoint(tmp_path / "nowhere")
    assert failure.value.errno == errno.ENOENT
