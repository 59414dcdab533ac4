"""The port of a model family on the training side: prepare, epochs, checkpoint, save.

The run (`trainer/run.py`) owns the order of these calls, logging, retries and signals; a family owns the model. What a
family saves is loaded by the class of the same family in `inference_server/families`, which also owns whatever both
sides must do alike: architectures, preprocessing, allow-lists.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inference_server.card import ModelCard

FAMILIES: Mapping[str, tuple[str, str]] = {
    "tabular_regression": ("trainer.families.tabular", "TabularRegression"),
    "tabular_classification": ("trainer.families.tabular", "TabularClassification"),
    "image_classification": ("trainer.families.image_classification", "ImageClassification"),
    "text_classification": ("trainer.families.text_classification", "TextClassification"),
    "text_generation": ("trainer.families.text_generation", "TextGeneration"),
}


class DataUnreadable(Exception):  # noqa: N818
    """The data, or the initial model, cannot be used; the sentence says what is wrong and is shown to the user."""


class TrainingFailed(Exception):  # noqa: N818
    """Training cannot go on although the data could be read; the sentence says why and is shown to the user."""

    @classmethod
    def diverged(cls, epoch: int) -> TrainingFailed:
        return cls(f"Training diverged in epoch {epoch}: the loss is no finite number. Use a smaller learningRate.")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One finished pass: `number` counts from 1 to `of`."""

    number: int
    of: int
    metrics: Mapping[str, float]


class Family(Protocol):
    """One model in training, constructed with `(hyperparameters, device)`: camelCase names with defaults filled in."""

    def prepare(self, dataset: Path, initial: Path | None) -> None:
        """Read the fetched dataset (a file, or the folder of an unpacked archive), split it, build or warm-start.

        `initial` is a fetched model folder or file, or None. Raises `DataUnreadable`.
        """

    def resume(self, checkpoint: Path) -> None:
        """Go on from what `checkpoint` wrote into this folder, in a process that has called `prepare` alike."""

    def checkpoint(self, folder: Path) -> None:
        """Write all that `resume` needs into this empty folder. Called between epochs only. No pickle."""

    def epochs(self) -> Iterator[Epoch]:
        """Fit, one epoch a step, from the first that is not done to the last. Raises `TrainingFailed`."""

    def measure(self) -> Mapping[str, float]:
        """The final metrics on the held-out rows, the one that people ask for first.

        `train_rows` and `test_rows` among them say how many rows there were, for the closing sentence.
        """

    def save(self, folder: Path) -> ModelCard:
        """Write the model's files into this empty folder, and return its card (which the run writes)."""

    def held_out(self) -> Sequence[Any]:
        """The `data` of predict requests, as JSON values, made of some of the held-out rows."""

    def signature(self) -> Any:
        """The model's `mlflow.models.ModelSignature`."""


def family_class(name: str) -> Any:
    module, class_name = FAMILIES[name]
    return getattr(importlib.import_module(module), class_name)
