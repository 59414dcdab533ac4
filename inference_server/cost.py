"""Cost: what a piece of work takes by its size, learnt from having done it."""

from __future__ import annotations

MEMORY = 0.98  # the weight of a measurement against the next: some fifty of them count
ALIKE = 0.01  # sizes that vary less than this, as variance to squared mean, say nothing about the cost of one more


class Cost:
    """Seconds as `fixed + each * size`: least squares over the measurements, the newer the weightier.

    While all sizes were alike, `fixed` is all of the cost and `each` is 0.
    """

    def __init__(self) -> None:
        self.fixed = 0.0
        self.each = 0.0
        self.largest = 0
        self._weight = self._size = self._seconds = self._squares = self._products = 0.0

    def note(self, size: int, seconds: float) -> None:
        """A piece of work of this size took so long."""
        self._weight = MEMORY * self._weight + 1
        self._size = MEMORY * self._size + size
        self._seconds = MEMORY * self._seconds + seconds
        self._squares = MEMORY * self._squares + size * size
        self._products = MEMORY * self._products + size * seconds
        self.largest = max(self.largest, size)
        self._fit()

    def expected(self, size: int) -> float:
        """Seconds; more than what was seen so far is taken to cost in proportion. 0 while nothing is known."""
        if self.each or not self._weight:
            return self.fixed + self.each * size
        return self.fixed * max(1.0, size * self._weight / self._size) if self._size else self.fixed

    def _fit(self) -> None:
        size, seconds = self._size / self._weight, self._seconds / self._weight
        variance = self._squares / self._weight - size * size
        covariance = self._products / self._weight - size * seconds
        known = variance > ALIKE * size * size
        self.each = max(0.0, covariance / variance) if known else 0.0
        self.fixed = max(0.0, seconds - self.each * size)
