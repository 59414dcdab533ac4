"""Warm starts of the tabular families: what they may start from, and a sentence for what they may not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference_server.card import ModelCard
from inference_server.families.rows import Feature, features_of
from inference_server.families.skops_reader import read_skops
from inference_server.families.tabular import MODEL_FILE
from trainer.families.base import DataUnreadable
from trainer.families.warm_start import card_of, check_classes, reading_initial_model


def read_initial(
    initial: Path, family: str, target: str, features: Sequence[Feature], classes: Sequence[Any] | None
) -> tuple[ModelCard, Any]:
    """The card and the estimator of the model in the folder `initial`.

    Raises `DataUnreadable` if it cannot be loaded safely, or has learnt other columns, another target or other classes.
    """
    _refuse_pickle(initial)
    card = card_of(initial, family)
    if card is None:
        raise DataUnreadable("The initial model has no card: tabular families start from models logged here only.")
    _refuse_other_columns(card, target, features)
    check_classes(card, classes or ())
    with reading_initial_model():
        return card, read_skops(initial / MODEL_FILE)


def _refuse_pickle(initial: Path) -> None:
    if not initial.is_file():
        return
    with initial.open("rb") as handle:
        if handle.read(1) == b"\x80":
            raise DataUnreadable("The initial model is a pickle, which can run code when it is opened; it is refused.")


def _refuse_other_columns(card: ModelCard, target: str, features: Sequence[Feature]) -> None:
    if card.target != target:
        raise DataUnreadable(f"The initial model predicts {card.target!r}; the dataset's target is {target!r}.")
    with reading_initial_model():
        known, here = ({(f.name, f.kind) for f in some} for some in (features_of(card.details), features))
    differences = [f"{name!r} ({kind}) is only in the model" for name, kind in sorted(known - here)]
    differences += [f"{name!r} ({kind}) is only in the dataset" for name, kind in sorted(here - known)]
    if differences:
        raise DataUnreadable(f"The initial model has other columns than the dataset: {'; '.join(differences[:5])}.")
