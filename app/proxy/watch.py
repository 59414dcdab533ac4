"""Watches over the requests in flight: who passes its deadline, and whose client leaves, is interrupted.

One tick for all of them, since a timer and a task for each would cost more than most requests do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum
from time import monotonic
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

TICK_SECONDS = 0.05  # how late a deadline or a client's leaving may be noticed


class Interruption(Enum):
    DEADLINE = "deadline"
    CLIENT_LEFT = "client left"


class Watched:
    """A request in flight. Its task is cancelled when it is to be interrupted, and `interruption` says why.

    The deadline counts from `waiting_since`, which whoever makes progress may move. `body_received` tells that the
    only message to come from the client is that it left.
    """

    body_received = False
    interruption: Interruption | None = None
    _task: asyncio.Task[Any] | None = None
    _listener: asyncio.Task[None] | None = None

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.waiting_since = monotonic()

    def begin(self, task: asyncio.Task[Any] | None) -> None:
        """From now on it may be interrupted."""
        self._task = task

    def interrupt(self, why: Interruption) -> None:
        if self._task is not None and self.interruption is None:
            self.interruption = why
            self._task.cancel()

    def interrupted(self) -> bool:
        """For a task that caught CancelledError: it was us, and nobody else besides. Clears the cancellation."""
        return self.interruption is not None and self._task is not None and self._task.uncancel() == 0

    def listen(self) -> None:
        """Begin to wait for the client's leaving, once."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> None:
        await self.receive()
        self.interrupt(Interruption.CLIENT_LEFT)

    def rest(self) -> None:
        """No more interruptions."""
        self._task = None
        if self._listener is not None:
            self._listener.cancel()


class Watch:
    """All requests in flight of one event loop; each may wait for `deadline` seconds."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._watched: set[Watched] = set()
        self._loop: asyncio.AbstractEventLoop | None = None  # as long as it ticks

    def begin(self, watched: Watched) -> None:
        """Watch over the running task's request."""
        self._watched.add(watched)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.call_later(TICK_SECONDS, self._tick)
        watched.begin(asyncio.current_task(self._loop))

    def end(self, watched: Watched) -> None:
        self._watched.discard(watched)
        watched.rest()

    def _tick(self) -> None:
        overdue = monotonic() - self._deadline
        for watched in self._watched:
            if watched.waiting_since <= overdue:
                watched.interrupt(Interruption.DEADLINE)
            elif watched.body_received:
                watched.listen()
        if self._loop is not None and self._watched:
            self._loop.call_later(TICK_SECONDS, self._tick)
        else:
            self._loop = None
