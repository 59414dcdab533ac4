"""The port of a model family on the serving side: load, parse, predict, render.

`parse` turns a request's `data` into rows, one per item to predict; `predict` gives one output a row, in order;
`render` turns outputs into the answer's JSON. Rows of several requests may be predicted together, so a row
carries all that it needs and nothing of its neighbours. `load_family` finds the class of a card's family.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from inference_server.card import ModelCard

FAMILIES: Mapping[str, tuple[str, str]] = {
    "tabular_regression": ("inference_server.families.tabular", "TabularRegression"),
    "tabular_classification": ("inference_server.families.tabular", "TabularClassification"),
    "image_classification": ("inference_server.families.image_classification", "ImageClassification"),
    "text_classification": ("inference_server.families.text_classification", "TextClassification"),
    "text_generation": ("inference_server.families.text_generation", "TextGeneration"),
}


class InputUnreadable(Exception):  # noqa: N818
    """The caller's data does not fit the model. The text is shown to the caller; `pointer` says where in the body."""

    def __init__(self, sentence: str, pointer: str = "/data") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.pointer = pointer


class ModelUnreadable(Exception):  # noqa: N818
    """The model's files cannot be loaded, or must not be; the text says why and is shown in the deployment's status."""


class Family(Protocol):
    """A loaded model. Not required to be safe for calls from several threads at once."""

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


@runtime_checkable
class Writes(Family, Protocol):
    """A model that writes text bit by bit, so that it can be answered while it is written."""

    def stream(self, rows: Sequence[Any]) -> Iterator[Sequence[Piece]]:
        """For each step the pieces of the rows that are not ended. The texts of a row's pieces are its output.

        A row has its prompt's tokens as `ids`. Steps of several streams and predictions may come between each other.
        """


class FamilyClass(Protocol):
    def load(self, directory: Path, card: ModelCard, device: str) -> Family:
        """Load without unpickling anything. `device` is `cpu` or `cuda`. Raises `ModelUnreadable`."""


def load_family(directory: Path, card: ModelCard, device: str = "cpu") -> Family:
    """Load the model in `directory` with the family that its card names."""
    if card.family not in FAMILIES:
        raise ModelUnreadable(f"There is no model family {card.family!r}; known are {', '.join(FAMILIES)}.")
    module, name = FAMILIES[card.family]
    family: FamilyClass = getattr(importlib.import_module(module), name)
    return family.load(directory, card, device)
