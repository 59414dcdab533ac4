"""Turns to start: who comes next."""

from __future__ import annotations

from app.runtimes.local.turns import Turns


def looks(turns: Turns, starting: list[str], *asking: str) -> list[str]:
    """Who of those that ask gets a turn in one look."""
    turns.look(starting)
    return [holder for holder in asking if turns.take(holder)]


def test_who_has_waited_longest_comes_first_whatever_the_order_of_asking() -> None:
    turns = Turns(1)
    assert looks(turns, [], "first", "second", "third") == ["first"]
    assert looks(turns, ["first"], "second", "third") == []
    assert looks(turns, [], "first", "third", "second") == ["second"]
    assert turns.why_waiting("first").endswith("before it in the queue are 1.")
    assert looks(turns, [], "first", "third") == ["third"]
    assert looks(turns, [], "first") == ["first"]


def test_who_asks_no_more_holds_up_nobody() -> None:
    turns = Turns(1)
    assert looks(turns, ["other"], "gone", "patient") == []
    assert looks(turns, ["other"], "patient") == []
    assert looks(turns, [], "patient") == ["patient"]
