"""The port of a model family on the serving side: load, parse, predict, render.

`parse` turns a request's `data` into rows, one per item to predict; `predict` gives one output a row, in order;
`render` turns outputs into the answer's JSON. Rows of several requests may be predicted together, so a row
carries all that it needs and nothing of its neighbours. `load_family` finds the class of a card's family.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from inference_server.card import ModelCard

log = logging.getLogger(__name__)

FAMILIES: Mapping[str, tuple[str, str]] = {
    "tabular_regression": ("inference_server.families.tabular", "TabularRegression"),
    "tabular_classification": ("inference_server.families.tabular", "TabularClassification"),
    "image_classification": ("inference_server.families.image_classification", "ImageClassification"),
    "text_classification": ("inference_server.families.text_classification", "TextClassification"),
    "text_generation": ("inference_server.families.text_generation", "TextGeneration"),
}
COMPILED: Mapping[str, tuple[str, str]] = {
    "tabular_regression": ("inference_server.families.compiled_table", "TabularRegression"),
    "tabular_classification": ("inference_server.families.compiled_table", "TabularClassification"),
    "image_classification": ("inference_server.families.compiled_images", "ImageClassification"),
    "text_classification": ("inference_server.families.compiled_texts", "TextClassification"),
}
"""The families that can be served compiled, without the library that trained the model being imported."""


class InputUnreadable(Exception):  # noqa: N818
    """The caller's data does not fit the model. The text is shown to the caller; `pointer` says where in the body."""

    def __init__(self, sentence: str, pointer: str = "/data") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.pointer = pointer


class ModelUnreadable(Exception):  # noqa: N818
    """The model's files cannot be loaded, or must not be; the text says why and is shown in the deployment's status."""


class CompiledUnusable(Exception):  # noqa: N818
    """A model's compiled form cannot be loaded here, though it may be; the text says why, and the original serves."""


class Family(Protocol):
    """A loaded model. `predict` is called by one thread at a time; meanwhile `parse` and `render` may be by others."""

    def parse(self, data: object) -> Sequence[Any]:
        """Rows from a request's `data`; at least one. Raises `InputUnreadable`."""

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        """One output a row, in order."""

    def render(self, outputs: Sequence[Any]) -> Mapping[str, Any]:
        """The answer's fields as JSON values: always `predictions`, one an output; for classifiers `probabilities`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one row's continuation got in a step: `text`, maybe none of it certain yet, from so many `tokens`.

    `ending` is empty while it goes on; `stop` means that the model or a stop text ended it, `length` that it was full.
    """

    row: int
    text: str
    tokens: int
    ending: str


Steps = Generator[Sequence[Piece], None, None]


@runtime_checkable
class Writes(Family, Protocol):
    """A model that writes text bit by bit, so that it can be answered while it is written."""

    def stream(self, rows: Sequence[Any]) -> Steps:
        """For each step the pieces of the rows that are not ended. The texts of a row's pieces are its output.

        A row has its prompt's tokens as `ids`. Steps of several streams and predictions may come between each other.
        """


class CompiledClass(Protocol):
    def load(self, directory: Path, card: ModelCard, threads: int) -> Family:
        """Load the compiled form alone. Raises `ModelUnreadable`, `CompiledUnusable`."""


class FamilyClass(Protocol):
    def load(self, directory: Path, card: ModelCard, device: str) -> Family:
        """Load without unpickling anything. `device` is `cpu` or `cuda`. Raises `ModelUnreadable`."""


def load_family(directory: Path, card: ModelCard, device: str = "cpu", threads: int = 0) -> Family:
    """Load the model in `directory` with the family that its card names: compiled where it is, on a CPU."""
    _check_known(card)
    if card.is_compiled and device == "cpu":
        try:
            return load_compiled(directory, card, threads)
        except CompiledUnusable as error:
            log.warning("%s The original is served.", error)
    return load_original(directory, card, device)


def served(family: Family, card: ModelCard, device: str = "cpu") -> tuple[str, str]:
    """`compiled` or `original`, as `load_family` chose, and a sentence that says why."""
    reason = str((card.compiled or {}).get("reason", "Nobody tried to compile the model."))
    if type(family).__module__ in {module for module, _ in COMPILED.values()}:
        return "compiled", reason
    if device != "cpu":
        return "original", "On a GPU the original is served."
    return "original", f"The compiled model cannot be loaded here. {reason}" if card.is_compiled else reason


def load_original(directory: Path, card: ModelCard, device: str = "cpu") -> Family:
    """Load what was trained, whether there is a compiled form or not."""
    _check_known(card)
    family: FamilyClass = _class(FAMILIES[card.family])
    return family.load(directory, card, device)


def load_compiled(directory: Path, card: ModelCard, threads: int = 0) -> Family:
    """Load the compiled form. Raises `CompiledUnusable` if there is none that can be loaded here."""
    if card.family not in COMPILED:
        raise CompiledUnusable(f"Models of the family {card.family} are not compiled.")
    try:
        family: CompiledClass = _class(COMPILED[card.family])
        return family.load(directory, card, threads)
    except ModuleNotFoundError as error:
        raise CompiledUnusable(f"The compiled model needs the package {error.name}, which is not here.") from error


def _check_known(card: ModelCard) -> None:
    if card.family not in FAMILIES:
        raise ModelUnreadable(f"There is no model family {card.family!r}; known are {', '.join(FAMILIES)}.")


def _class(place: tuple[str, str]) -> Any:
    module, name = place
    return getattr(importlib.import_module(module), name)
