"""Buckets: rows of like length are computed together, so that a short one is not padded to the longest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Output = TypeVar("Output")

SHORTEST = 32
"""Tokens: below it a call's own cost is more than what padding takes."""


def in_buckets(
    predict: Callable[[Sequence[Any]], Sequence[Output]],
    rows: Sequence[Any],
    length: Callable[[Any], int],
    tokens_at_once: int,
) -> list[Output]:
    """One output a row, in order: `predict` is called with rows whose lengths differ by less than a factor of two.

    Padded, the rows of one call have `tokens_at_once` at most, or are one.
    """
    outputs: dict[int, Output] = {}
    for places in _buckets([length(row) for row in rows], tokens_at_once):
        outputs.update(zip(places, predict([rows[place] for place in places]), strict=True))
    return [outputs[place] for place in range(len(rows))]


def _buckets(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    bucket: list[int] = []
    width = 0
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if bucket and (_class(lengths[place]) != _class(width) or (len(bucket) + 1) * width > tokens_at_once):
            yield bucket
            bucket = []
        width = width if bucket else lengths[place]  # of the bucket's longest row
        bucket.append(place)
    if bucket:
        yield bucket


def _class(length: int) -> int:
    """The power of two that this length is padded to at most."""
    return (max(length, SHORTEST) - 1).bit_length()
