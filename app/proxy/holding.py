"""Predictions for a deployment that has no ready replica for a moment: held, within bounds, until it has one again."""

from __future__ import annotations

import asyncio
from collections import deque

from app.proxy.routes import Route
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
    """At most `limit` requests of each task wait at this gateway, each for at most `seconds`, or longer where the route
    says so; with 0 none waits."""

    def __init__(self, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit

    def has_room(self, route: Route) -> bool:
        return route.traffic.held < self._limit

    async def wait(self, route: Route, held: Held) -> bool:
        """Whether the route is ready; not if it is not in time, or is expected no more, or the client left."""
        watching = asyncio.create_task(held.watch())
        watching.add_done_callback(lambda _: route.wake())
        route.traffic.held += 1
        try:
            async with asyncio.timeout(self._seconds and max(self._seconds, route.spec.hold_seconds)):
                while not route.ready and route.spec.expected and not watching.done():
                    await route.changed.wait()
        except TimeoutError:
            pass
        finally:
            route.traffic.held -= 1
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return route.ready and not held.left
