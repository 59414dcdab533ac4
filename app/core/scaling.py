"""Scaling in words: within which bounds a deployment follows its load, and what a start from nothing took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from statistics import median


@dataclass(frozen=True, slots=True)
class Elastic:
    """A deployment runs between `min_replicas` and `max_replicas`, so that each has about `target_concurrency`
    predictions in flight. With `min_replicas` 0 it sleeps once it has had none for `idle_seconds`."""

    min_replicas: int
    max_replicas: int
    target_concurrency: int
    idle_seconds: int

    def within(self, replicas: int) -> int:
        return min(max(replicas, self.min_replicas), self.max_replicas)


class StartPhase(StrEnum):
    """What a replica does on its way to being ready, in this order."""

    SCHEDULE = "schedule"  # it waits for its place
    PULL = "pull"  # its image is fetched
    START = "start"  # its process begins, and imports what it needs
    FETCH = "fetch"  # the model is fetched
    LOAD = "load"
    WARM_UP = "warmUp"


@dataclass(frozen=True, slots=True)
class Wake:
    """A start from no replica to the first that was ready; `seconds` by phase, whose sum is what it took in all."""

    seconds: Mapping[StartPhase, float]
    finished_at: datetime

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def usual_seconds(wakes: Iterable[Wake]) -> float | None:
    """What a wake takes, judged by the last ones; None if there were none."""
    totals = [wake.total for wake in wakes]
    return median(totals) if totals else None


SERVERS_OWN = {  # the words of a server that is not ready yet, and what they mean for its start
    "Starting": StartPhase.START,
    "Fetching": StartPhase.FETCH,
    "Loading": StartPhase.LOAD,
    "WarmingUp": StartPhase.WARM_UP,
}


def told_seconds(said: object) -> dict[StartPhase, float]:
    """What is said that phases took, by name; nothing of what cannot be read."""
    told = said if isinstance(said, Mapping) else {}
    found = {phase: told.get(phase.value) for phase in StartPhase}
    return {phase: float(value) for phase, value in found.items() if isinstance(value, int | float) and value >= 0}
