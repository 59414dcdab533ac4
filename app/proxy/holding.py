"""Predictions for a deployment that has no ready replica for a moment: held, within bounds, until it has one again."""

from __future__ import annotations

import asyncio
from time import monotonic

from app.proxy.routes import Route
from app.proxy.server import Turn


class Holding:
    """At most `limit` requests of each task wait at this gateway, each for at most `seconds`, or what its route says if
    that is longer; with 0 none waits.

    Their bodies wait where they are: up to 64 KiB and what one read brings with the connection, the rest at the client.
    """

    def __init__(self, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit

    def is_full(self, route: Route) -> bool:
        return route.traffic.held >= self._limit

    async def wait(self, route: Route, turn: Turn | None, seconds: float) -> bool:
        """Whether the route is ready; not if it is not within `seconds`, or is expected no more, or the client left."""
        left = False
        longest = max(self._seconds, route.spec.hold_seconds) if self._seconds else 0.0

        def leave() -> None:
            nonlocal left
            left = True
            changed.set()

        changed = asyncio.Event()
        began = monotonic()
        route.waiting.add(changed)
        route.traffic.enter(began)
        route.traffic.held += 1
        if turn is not None:
            turn.on_left = leave
        try:
            async with asyncio.timeout(min(seconds, longest)):
                while not route.ready and route.spec.expected and not left:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            route.traffic.held -= 1
            route.traffic.leave(began, monotonic())
            route.waiting.discard(changed)
            if turn is not None:
                turn.on_left = None
        return route.ready and not left
