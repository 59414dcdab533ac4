"""Warm starts of the PyTorch families: what they may start from, and a sentence for what they may not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inference_server.card import FILE_NAME, CardUnreadable, ModelCard
from inference_server.families.base import ModelUnreadable
from trainer.families.base import DataUnreadable

if TYPE_CHECKING:  # that module needs torch; the tabular families use this one without it
    from trainer.families.measures import Class


@contextmanager
def reading_initial_model() -> Iterator[None]:
    """What the serving side would refuse to load is refused as an initial model, in the same words."""
    try:
        yield
    except (CardUnreadable, ModelUnreadable) as error:
        raise DataUnreadable(f"The initial model cannot be used: {error}") from error


def card_of(initial: Path, family: str) -> ModelCard | None:
    """The initial model's card, or None if it has none. Raises `DataUnreadable` if it is of another family."""
    if not initial.is_dir():
        raise DataUnreadable(f"The initial model must be a model's folder; {initial.name!r} is a file.")
    if not (initial / FILE_NAME).exists():
        return None
    with reading_initial_model():
        card = ModelCard.read(initial)
    if card.family != family:
        raise DataUnreadable(f"The initial model is of the family {card.family}; {family} cannot start from it.")
    return card


def check_classes(card: ModelCard, classes: Sequence[Class]) -> None:
    """Raise `DataUnreadable` unless the initial model tells the very same classes apart."""
    if tuple(card.classes or ()) != tuple(classes):
        known, wanted = (", ".join(map(str, names)) for names in (card.classes or (), classes))
        raise DataUnreadable(f"The initial model knows the classes {known:.300}; the dataset has {wanted:.300}.")
