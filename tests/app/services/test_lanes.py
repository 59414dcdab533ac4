"""Lanes: in order, a few at once, and one for all after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.services.lanes import Lane


class Walker:
    """Takes turns in a lane, and stays in each until it is told how it went."""

    def __init__(self, lane: Lane, log: list[str], name: str) -> None:
        self.name, self._lane, self._log = name, lane, log
        self.went_well = asyncio.get_running_loop().create_future()
        self.on_end: Callable[[], object] = lambda: None
        self.task = asyncio.create_task(self._walk())

    async def _walk(self) -> None:
        async with self._lane.turn() as turn:
            self._log.append(self.name)
            turn.went_well = await self.went_well
        self.on_end()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_they_go_in_their_order_and_so_many_at_once() -> None:
    lane, log = Lane(lambda: 2), list[str]()
    walkers = [Walker(lane, log, name) for name in "abcd"]
    await settle()
    assert log == ["a", "b"]
    walkers[1].went_well.set_result(True)
    await settle()
    assert log == ["a", "b", "c"]
    for walker in walkers:
        if not walker.went_well.done():
            walker.went_well.set_result(True)
    await asyncio.gather(*(walker.task for walker in walkers))
    assert log == ["a", "b", "c", "d"]


async def test_after_a_failure_one_asks_for_all_until_it_goes_well() -> None:
    lane, log = Lane(lambda: 4), list[str]()
    first = Walker(lane, log, "first")
    await settle()
    first.went_well.set_result(False)
    await first.task
    others = [Walker(lane, log, name) for name in "abc"]
    await settle()
    assert log == ["first"]
    async with asyncio.timeout(5):
        while len(log) < 2:  # noqa: ASYNC110 - its rest is its own
            await asyncio.sleep(0.01)
    assert log == ["first", "a"]
    others[0].went_well.set_result(True)
    await settle()
    assert log == ["first", "a", "b", "c"]
    for walker in others[1:]:
        walker.went_well.set_result(True)
        await walker.task


async def test_one_that_leaves_while_it_waits_holds_up_nobody() -> None:
    lane, log = Lane(lambda: 1), list[str]()
    first, leaving, last = (Walker(lane, log, name) for name in ("first", "leaving", "last"))
    await settle()
    leaving.task.cancel()
    first.went_well.set_result(True)
    last.went_well.set_result(True)
    async with asyncio.timeout(5):
        await asyncio.gather(first.task, last.task)
    assert log == ["first", "last"]


async def test_one_that_leaves_as_its_turn_comes_gives_it_to_the_next() -> None:
    lane, log = Lane(lambda: 1), list[str]()
    first, leaving, last = (Walker(lane, log, name) for name in ("first", "leaving", "last"))
    await settle()
    first.on_end = leaving.task.cancel  # its turn was given to it, and it has not run since
    first.went_well.set_result(True)
    last.went_well.set_result(True)
    async with asyncio.timeout(5):
        await asyncio.gather(first.task, leaving.task, last.task, return_exceptions=True)
    assert log == ["first", "last"]
    assert leaving.task.cancelled()


async def test_what_is_expected_follows_from_what_was_seen() -> None:
    lane, log = Lane(lambda: 2), list[str]()
    assert lane.expected(0) is None
    walker = Walker(lane, log, "a")
    await settle()
    walker.went_well.set_result(True)
    await walker.task
    near, far = lane.expected(0), lane.expected(4)
    assert near is not None
    assert far == pytest.approx(3 * near)
