"""How many predictions a deployment had in flight on average, over a long window and a short one: pure.

Each gateway keeps its own windows on its own monotonic clock; averages of several gateways add up.
"""

from __future__ import annotations

from collections import deque

from app.core.routing import Load
from app.store.loads import Demand

STABLE_SECONDS = 60.0
PANIC_SECONDS = 6.0


class Windows:
    """The last readings of one task's load, as far back as the stable window reaches."""

    def __init__(self) -> None:
        self._readings: deque[Load] = deque()
        self._moved = False

    def read(self, load: Load) -> None:
        """Take a reading, later than the ones before. While all predictions wait for a first replica the windows stay
        empty: how many wait says how many replicas start too slowly, not how many it takes."""
        before = self._readings[-1] if self._readings else None
        self._moved = load.concurrency > 0 or (before is not None and load.arrivals != before.arrivals)
        began_anew = before is not None and load.request_seconds < before.request_seconds
        if began_anew or (load.held and not load.in_flight):
            self._readings.clear()
        if load.in_flight or not load.held:
            self._readings.append(load)
        while len(self._readings) > 2 and self._readings[1].at <= load.at - STABLE_SECONDS:
            self._readings.popleft()

    @property
    def demand(self) -> Demand:
        return Demand(_short(self._average(STABLE_SECONDS)), _short(self._average(PANIC_SECONDS)), self._moved)

    def _average(self, seconds: float) -> float:
        """Over the window, or over what is known of it."""
        if len(self._readings) < 2:
            return 0.0
        last = self._readings[-1]
        begin = max(self._readings[0].at, last.at - seconds)
        if begin >= last.at:
            return 0.0
        return (last.request_seconds - self._request_seconds(begin)) / (last.at - begin)

    def _request_seconds(self, at: float) -> float:
        """At a moment between two readings, as if the load had been even between them."""
        earlier = self._readings[0]
        for later in self._readings:
            if later.at > at:
                share = (at - earlier.at) / (later.at - earlier.at)
                return earlier.request_seconds + share * (later.request_seconds - earlier.request_seconds)
            earlier = later
        return earlier.request_seconds


def _short(average: float) -> float:
    """Two digits: what differs less makes no other decision, and is no reason to write."""
    return float(f"{average:.2g}")
