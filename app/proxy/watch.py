"""Watches over the requests in flight: who passes its deadline is interrupted.

One tick for all of them, since a timer for each would cost more than most requests do.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from time import monotonic
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

TICK_SECONDS = 0.05  # how late a deadline may be noticed


class Interruption(Enum):
    DEADLINE = "deadline"
    CLIENT_LEFT = "client left"


class Watched(ABC):
    """A request in flight, until the moment `due`, which whoever makes progress may move.

    When it is interrupted, `interruption` says why, and its task is cancelled; without a task it is `cut`.
    """

    interruption: Interruption | None = None
    task: asyncio.Task[Any] | None = None
    due: float

    def interrupt(self, why: Interruption) -> None:
        """Idempotent: the first reason stays."""
        if self.interruption is None:
            self.interruption = why
            if self.task is not None:
                self.task.cancel()
            else:
                self.cut()

    @abstractmethod
    def cut(self) -> None:
        """End what has no task, at once."""

    def interrupted(self) -> bool:
        """For a task that caught CancelledError: it was us, and nobody else besides. Clears the cancellation."""
        return self.interruption is not None and self.task is not None and self.task.uncancel() == 0


class Watch:
    """All requests in flight of one event loop."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # as long as it ticks

    def begin(self, watched: Watched) -> None:
        self._watched.add(watched)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.call_later(TICK_SECONDS, self._tick)

    def end(self, watched: Watched) -> None:
        self._watched.discard(watched)

    def _tick(self) -> None:
        now = monotonic()
        for watched in [watched for watched in self._watched if watched.due <= now]:
            watched.interrupt(Interruption.DEADLINE)
        if self._loop is not None and self._watched:
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._loop = None
