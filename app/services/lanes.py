"""Lanes: whose turn it is among the predictions that wait for one deployment."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds


def pause(failures: int) -> float:
    """Seconds to rest after so many failures in a row: doubling, bounded, and up to half of it random."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
    return random.uniform(longest / 2, longest)


class Turn:
    """One try. It counts as failed unless it is said to have gone well; `retry_after` is in seconds, if it was said."""

    went_well = False
    retry_after = 0


class Lane:
    """In their order, `width()` at once; after a failure a rest, and one at a time until one goes well.

    So a deployment that is away is asked by one for all, and not asked by all. `members` is for the owner to count.
    """

    def __init__(self, width: Callable[[], int]) -> None:
        self._width = width
        self._busy = 0
        self._failures = 0
        self._rest: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._seconds: float | None = None  # that a turn takes which goes well, the newer ones counting more
        self._away_until = 0.0
        self.members = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        await self._admission()
        turn, began = Turn(), monotonic()
        try:
            yield turn
        finally:
            self._busy -= 1
            if turn.went_well:
                self._well(monotonic() - began)
            else:
                self._badly(turn.retry_after)
            self._admit()

    def expected(self, ahead: int) -> float | None:
        """In how many seconds the one behind `ahead` others has its answer; None if nothing tells."""
        away = max(0.0, self._away_until - monotonic())
        if self._seconds is None:
            return away or None
        return away + self._seconds * (ahead // self._width() + 1)

    async def _admission(self) -> None:
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(admitted)
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._waiting.remove(admitted)
            else:
                self._busy -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        width = 1 if self._failures else self._width()
        while self._waiting and self._rest is None and self._busy < width:
            self._busy += 1
            self._waiting.popleft().set_result(None)

    def _well(self, seconds: float) -> None:
        self._seconds = seconds if self._seconds is None else 0.8 * self._seconds + 0.2 * seconds
        self._failures, self._away_until = 0, 0.0
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _badly(self, retry_after: int) -> None:
        self._failures += 1
        self._away_until = monotonic() + retry_after
        if self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(pause(self._failures), self._end_rest)

    def _end_rest(self) -> None:
        self._rest = None
        self._admit()
