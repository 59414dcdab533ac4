"""Turns to start: so many replicas at a time, as many that start at once would leave nothing of the machine."""

from __future__ import annotations

from collections.abc import Iterable


class Turns:
    """A queue for the starts of replicas: who has asked for longest comes first, and who asks no more loses its place.

    What it remembers could be lost at any moment without harm.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._starting: set[str] = set()
        self._queue: dict[str, None] = {}
        self._asked: set[str] = set()

    def look(self, starting: Iterable[str]) -> None:
        """Begin another look at the world, in which these are starting."""
        self._starting = set(starting)
        self._queue = {holder: None for holder in self._queue if holder in self._asked}
        self._asked = set()

    def take(self, holder: str) -> bool:
        """Whether it is the turn of `holder`, which then is starting; if not, it has to ask again at each look."""
        self._asked.add(holder)
        self._queue.setdefault(holder)
        if len(self._starting) + self._ahead(holder) >= self._limit:
            return False
        del self._queue[holder]
        self._starting.add(holder)
        return True

    def why_waiting(self, holder: str) -> str:
        """The sentence for one that was told to wait."""
        return (
            f"It waits for its turn: {self._limit} replicas start at a time on this machine, "
            f"and before it in the queue are {self._ahead(holder)}."
        )

    def _ahead(self, holder: str) -> int:
        return list(self._queue).index(holder)
