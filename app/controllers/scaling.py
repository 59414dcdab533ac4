"""How many replicas a deployment shall have for its load, Knative's way: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.controllers.windows import STABLE_SECONDS
from app.core.scaling import Elastic
from app.store.loads import Demand

PANIC_FACTOR = 2  # a burst that takes so many times the replicas that are ready
SLOWEST = 2  # how many times fewer there may be at each step down
WAKING_SECONDS = 15.0  # the least time to be ready in for one that was woken: who woke it tells of it a little later


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one deployment between two decisions, in monotonic seconds.

    `since` is when it began: nothing is taken away before the stable window has passed, as a gateway that has just
    taken over, or started, knows of no load before. `awake` counts how far it came on its way from sleep.
    """

    since: float
    active_at: float
    panicked_at: float = -math.inf
    awake: int = 0

    @classmethod
    def fresh(cls, now: float) -> Memory:
        return cls(now, now)


@dataclass(frozen=True, slots=True)
class Situation:
    """What runs: `wanted` was decided last; of these `ready` answer, and `starved` find no place.

    `settled`: it has been ready, and no rollout is on its way.
    """

    wanted: int
    ready: int
    starved: int = 0
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """`load_asks` is how many replicas the load would take, whatever the bounds and the room."""

    replicas: int
    load_asks: int


def decide(elastic: Elastic, seen: Situation, demand: Demand, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """The decision, and what to remember for the next one.

    A deployment that sleeps is woken by a prediction that waits, never by this. One whose replicas are all on their way
    gets no more of them: what waits says nothing of how fast they will be.
    """
    awake = (seen.wanted > 0) + (seen.ready > 0)
    if demand.busy or awake > memory.awake:
        memory = replace(memory, active_at=now)
    asked, panics = (math.ceil(average / elastic.target_concurrency) for average in (demand.stable, demand.panic))
    if panics >= PANIC_FACTOR * max(1, seen.ready):
        memory = replace(memory, panicked_at=now)
    calm = now - memory.panicked_at >= STABLE_SECONDS
    asked = asked if calm else max(asked, panics)
    replicas = _replicas(elastic, seen, asked, memory, now, calm=calm)
    return Decision(replicas, asked), replace(memory, awake=awake if replicas else 0)


def _replicas(elastic: Elastic, seen: Situation, asked: int, memory: Memory, now: float, *, calm: bool) -> int:
    patience = elastic.idle_seconds if seen.ready else max(elastic.idle_seconds, WAKING_SECONDS)
    is_idle = now - memory.active_at >= patience
    if elastic.min_replicas == 0 and (seen.wanted == 0 or (is_idle and seen.settled)):
        return 0
    wanted = max(1, asked)
    if wanted < seen.wanted:
        may_shrink = calm and now - memory.since >= STABLE_SECONDS
        wanted = max(wanted, math.ceil(seen.wanted / SLOWEST)) if may_shrink else seen.wanted
    if wanted > seen.wanted and seen.ready == 0:
        wanted = max(1, seen.wanted)
    if seen.starved:  # one of them keeps its place in the queue
        wanted = min(wanted, max(1, seen.wanted - seen.starved + 1))
    return elastic.within(wanted)
