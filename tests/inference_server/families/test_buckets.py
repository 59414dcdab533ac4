"""Buckets: rows of like length together, and everyone's output in its place."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from inference_server.families.buckets import SHORTEST, in_buckets


def calls_for(lengths: Sequence[int], tokens_at_once: int) -> list[list[int]]:
    calls: list[list[int]] = []

    def predict(rows: Sequence[list[int]]) -> Sequence[int]:
        calls.append([len(row) for row in rows])
        return [row[0] for row in rows]

    rows = [[number] * length for number, length in enumerate(lengths)]
    assert in_buckets(predict, rows, len, tokens_at_once) == list(range(len(lengths)))
    return calls


def test_one_long_text_does_not_make_the_short_ones_long() -> None:
    assert calls_for([40, 500, 41, 42], 8192) == [[500], [42, 41, 40]]


def test_below_a_length_where_padding_costs_nothing_all_are_computed_together() -> None:
    assert len(calls_for([1, 2, 5, SHORTEST], 8192)) == 1


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 2000))
def test_a_call_is_never_wider_than_allowed_nor_padded_to_twice_a_length(lengths: list[int], most: int) -> None:
    for call in calls_for(lengths, most):
        assert len(call) == 1 or len(call) * max(call) <= most
        assert max(call) <= 2 * max(min(call), SHORTEST)
