"""How long a deployment takes from no replica to the first that is ready, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from app.core.scaling import StartPhase, Wake
from app.core.tasks import Deployment, DeploymentStatus
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation

KEPT = 5  # wakes that estimates are made of
_ORDER = tuple(StartPhase)
_OWN = (StartPhase.FETCH, StartPhase.LOAD, StartPhase.WARM_UP)  # of the server's program


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """The phases of one start so far, on one monotonic clock: what they take adds up to the whole of it."""

    lap_began: float
    phase: StartPhase
    seconds: Mapping[StartPhase, float]

    @classmethod
    def started(cls, now: float) -> Stopwatch:
        return cls(now, StartPhase.SCHEDULE, dict.fromkeys(StartPhase, 0.0))

    def at(self, phase: StartPhase, now: float) -> Stopwatch:
        """Until now it was in the phase before; a start never goes back, also where its program is started again."""
        taken = {**self.seconds, self.phase: self.seconds[self.phase] + now - self.lap_began}
        return Stopwatch(now, max(self.phase, phase, key=_ORDER.index), taken)


def with_told(seconds: Mapping[StartPhase, float], told: Mapping[StartPhase, float]) -> Mapping[StartPhase, float]:
    """`seconds`, seen from outside, with what those who did it say they took; the sum stays what it was."""
    pull = min(told.get(StartPhase.PULL, seconds[StartPhase.PULL]), seconds[StartPhase.PULL])
    start = seconds[StartPhase.START] + seconds[StartPhase.PULL] - pull
    own = {phase: told[phase] for phase in _OWN if phase in told}
    rest = start + sum(seconds[phase] for phase in own) - sum(own.values())
    if rest < 0:
        own, rest = {}, start
    return {**seconds, **own, StartPhase.PULL: pull, StartPhase.START: rest}


class WakeWatch:
    """Measures the starts that this gateway leads from their first moment to their last; others are not measured."""

    def __init__(
        self, record: Callable[[str, Wake], None] = lambda *_: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._record, self._clock = record, clock
        self._running: dict[str, Stopwatch] = {}

    def see(
        self, deployment: Deployment, found: ServerObservation | None, status: DeploymentStatus, now: datetime
    ) -> DeploymentStatus:
        """`status`, with the wake that has come to its end; `deployment` has the status before."""
        watch = self._running.pop(deployment.uid, None)
        replicas = found.replicas if found else ()
        ready = next((one for one in replicas if one.state is ProcessState.RUNNING), None)
        if watch is None and not ready and not deployment.status.wanted:
            watch = Stopwatch.started(self._clock())
        if watch is None or deployment.spec.replicas == 0:
            return status
        if ready is None:
            self._running[deployment.uid] = watch.at(_furthest(replicas), self._clock())
            return status
        seconds = watch.at(StartPhase.WARM_UP, self._clock()).seconds
        wake = Wake({phase: round(one, 3) for phase, one in with_told(seconds, ready.seconds).items()}, now)
        self._record(deployment.task_id, wake)
        return replace(status, wakes=(*status.wakes, wake)[-KEPT:])

    def keep(self, uids: Collection[str]) -> None:
        """Forget all others."""
        self._running = {uid: watch for uid, watch in self._running.items() if uid in uids}


def _furthest(replicas: Collection[ReplicaObservation]) -> StartPhase:
    phases = [one.phase for one in replicas if one.phase is not None]
    return max(phases, key=_ORDER.index, default=StartPhase.SCHEDULE)
