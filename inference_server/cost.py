"""Cost: what a piece of work takes by its size, learnt from having done it on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FALL, RISE = 0.5, 0.05
"""How far an estimate follows a measurement below it, and above it: what took longer was mostly kept waiting."""

SELDOM = 8  # measurements, after which the line is drawn again: drawing takes time too
REMEMBERED = 1000  # measurements, after which a class of sizes that does not come any more is forgotten


@dataclass(slots=True)
class _Class:
    """Sizes within a factor of two: their mean, the seconds that one of it takes, and when one was seen."""

    size: float
    rate: float
    at: int


class Cost:
    """Seconds as `fixed + each * size`: the line through the smallest and the largest sizes that were seen lately.

    While all sizes were about alike, `fixed` is all of the cost and `each` is 0. `clock` is what to measure with: by
    default the thread's own time, in which no waiting for other threads or programs counts.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self.clock = clock
        self.fixed = 0.0
        self.each = 0.0
        self.largest = 0.0
        self._classes: dict[int, _Class] = {}
        self._count = 0

    def note(self, size: int, seconds: float) -> None:
        """A piece of work of this size, at least 1, took so long."""
        self._count += 1
        rate = seconds / size
        seen = self._classes.get(size.bit_length())
        if seen is None:
            self._classes[size.bit_length()] = _Class(size, rate, self._count)
            self._draw()
        else:
            seen.size += (size - seen.size) * RISE
            seen.rate += (rate - seen.rate) * (FALL if rate < seen.rate else RISE)
            seen.at = self._count
            if self._count % SELDOM == 0:
                self._draw()

    def expected(self, size: int) -> float:
        """Seconds. More than was seen so far is taken to cost in proportion; 0 while nothing is known."""
        if seen := self._classes.get(size.bit_length()):
            return seen.rate * size
        if self.each or not self.largest:
            return self.fixed + self.each * size
        return self.fixed * max(1.0, size / self.largest)

    def _draw(self) -> None:
        for key in [key for key, seen in self._classes.items() if self._count - seen.at > REMEMBERED]:
            del self._classes[key]
        low, high = self._classes[min(self._classes)], self._classes[max(self._classes)]
        rise = high.size * high.rate - low.size * low.rate
        self.each = max(0.0, rise / (high.size - low.size)) if high is not low else 0.0
        self.fixed = max(0.0, low.size * low.rate - self.each * low.size)
        self.largest = high.size
