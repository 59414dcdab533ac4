"""What a task's predictions amount to at this gateway: how many there are now, and how they ended."""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic

from app.core.routing import Load

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds


class Traffic:
    """Plain numbers of one event loop, as the metrics library's own counters take a lock for each of theirs.

    Who entered is `present` until it leaves; of those, `held` wait for a replica that is ready. Moments are
    `monotonic()`.
    """

    __slots__ = ("_came", "_gone_seconds", "arrivals", "buckets", "codes", "held", "present", "refused", "seconds")

    def __init__(self) -> None:
        self.arrivals = self.present = self.held = self.refused = 0
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0  # of those that were answered
        self._came = 0.0  # the sum of the moments at which those came that are present
        self._gone_seconds = 0.0

    @property
    def in_flight(self) -> int:
        return self.present - self.held

    def enter(self, now: float) -> None:
        self.present += 1
        self._came += now

    def leave(self, came: float, now: float) -> None:
        self.present -= 1
        self._came = self._came - came if self.present else 0.0  # so that rounding errors do not add up for ever
        self._gone_seconds += now - came

    def count(self, code: int, seconds: float) -> None:
        """One was answered so, after this time."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds

    def refuse(self, code: int) -> None:
        """One was refused at once, which has no part in the durations."""
        self.refused += 1
        self.codes[code] = self.codes.get(code, 0) + 1

    def load(self) -> Load:
        now = monotonic()
        seconds = self._gone_seconds + self.present * now - self._came
        return Load(now, self.in_flight, self.held, self.arrivals, self.refused, seconds)
