"""Predictions for a deployment that has no ready replica for a moment: held, within bounds, until it has one again."""

from __future__ import annotations

import asyncio
from collections import deque

from app.proxy.routes import Route, RouteTable
from app.proxy.watch import Message, Receive

BODY_LIMIT = 256 << 10  # bytes of a held request that are kept; the rest waits at the client


class Held:
    """What a held request's client has sent, to be received once more by whoever answers."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self.left = False

    async def receive(self) -> Message:
        return self._messages.popleft() if self._messages else await self._receive()

    async def watch(self) -> None:
        """Keep what the client sends; returns when it has left."""
        size = 0
        while size < BODY_LIMIT and not self.left:
            message = await self._receive()
            self._messages.append(message)
            self.left = message["type"] == "http.disconnect"
            size += len(message.get("body", b""))
        if not self.left:
            await asyncio.Event().wait()


class Holding:
    """At most `limit` requests of this gateway wait, each for at most `seconds`."""

    def __init__(self, routes: RouteTable, seconds: float, limit: int) -> None:
        self._routes = routes
        self._seconds = seconds
        self._limit = limit
        self.held = 0

    async def wait(self, path: str, held: Held) -> Route | None:
        """The route that answers for `path`; None if there is none in time, or too many wait, or the client left."""
        if self.held >= self._limit:
            return None
        self.held += 1
        watching = asyncio.create_task(held.watch())
        watching.add_done_callback(lambda _: self._routes.wake())
        try:
            async with asyncio.timeout(self._seconds):
                return await self._found(path, watching)
        except TimeoutError:
            return None
        finally:
            self.held -= 1
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _found(self, path: str, watching: asyncio.Task[None]) -> Route | None:
        while (route := self._routes.find(path)) is None and self._routes.expects(path) and not watching.done():
            await self._routes.changed()
        return None if watching.done() else route
