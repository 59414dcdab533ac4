"""A nudge wakes a loop before its period is over. Many nudges while it works make one more round, never a queue."""

from __future__ import annotations

import asyncio
import contextlib


class Nudge:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __call__(self) -> None:
        """Wake the waiting loop; from the event loop's own thread only."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return at the next nudge, or after `seconds`."""
        with contextlib.suppress(TimeoutError):  # wait_for can swallow a cancellation in Python 3.11
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class Nudges:
    """One call that wakes several loops; loops may join later."""

    def __init__(self) -> None:
        self._nudges: list[Nudge] = []

    def add(self, nudge: Nudge) -> None:
        self._nudges.append(nudge)

    def __call__(self) -> None:
        for nudge in self._nudges:
            nudge()
