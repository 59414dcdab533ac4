"""Harder requests: rows as a model meets them one day, though none was held out: with values missing or never seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inference_server.card import ModelCard
from inference_server.families.rows import features_of

UNSEEN = "\N{SNOWMAN} a category that no dataset has"
_ROWS = 50


def requests(card: ModelCard, held_out: Sequence[Any]) -> Iterator[Any]:
    """For a table: held-out rows with each column missing in turn, and each category column unknown in turn."""
    if "features" not in card.details:
        return
    rows = [row for data in held_out for row in data["features"]][:_ROWS]
    for position, feature in enumerate(features_of(card.details)):
        for value in [None, UNSEEN] if feature.kind == "category" else [None]:
            yield {"features": [[*row[:position], value, *row[position + 1 :]] for row in rows]}
