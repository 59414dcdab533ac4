"""One job's way: waiting, starting, running, stopping, exited; one step of it at each look."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

from app.core.conditions import Termination, TerminationReason
from app.core.specs import JobSpec
from app.runtimes.base import JobObservation, ProcessState, ran_too_long
from app.runtimes.local.attempt import Attempt, Life, Slot
from app.runtimes.local.gpus import Pool
from app.runtimes.local.launcher import Launcher
from app.runtimes.local.probe import Prober
from app.runtimes.local.settings import LocalSettings
from app.runtimes.local.termination import STOPPED, never_ran, termination_of
from app.runtimes.local.wishes import Order, Wish, notes_of

STARTING = ("Starting", "Its process is about to start.")


class JobKeeper:
    """Brings one job to what is wished. All state is on disk; this only remembers what it has read."""

    def __init__(self, name: str, slot: Slot, settings: LocalSettings, launcher: Launcher) -> None:
        self._name, self._slot, self._settings, self._launcher = name, slot, settings, launcher
        self._attempt = slot.attempt(1)
        self.probers: tuple[Prober, ...] = ()
        self.starting: tuple[str, ...] = ()  # jobs start without waiting for a turn
        self.next_start = math.inf

    @property
    def holder(self) -> str:
        return f"job {self._name}"

    def look(self, wish: Wish) -> None:
        if self._attempt.number != wish.run:
            self._attempt = self._slot.attempt(wish.run)
        self._attempt.look()

    @property
    def alive(self) -> dict[str, Attempt]:
        return {self.holder: self._attempt} if self._attempt.alive else {}

    def step(self, wish: Wish, pool: Pool, order: Order) -> JobObservation:
        """One step nearer to the wish, and what is so now."""
        attempt = self._attempt
        if attempt.life in (Life.ENDED, Life.LOST):
            return self._exited(wish, termination_of(attempt, stop_wished=wish.stopped or wish.deleted))
        if attempt.alive and (wish.stopped or wish.deleted or order is Order.STOP):
            attempt.ask_to_stop(self._settings.job_patience.total)
            return self._seen(wish, ProcessState.STOPPING, STOPPED, "It was told to stop and has not ended yet.")
        if attempt.life is Life.RUNNING and self._is_late(wish):
            attempt.ask_to_stop(self._settings.job_patience.total)
            return self._seen(wish, ProcessState.STOPPING, TerminationReason.DEADLINE_EXCEEDED, "It ran for too long.")
        if attempt.life is Life.RUNNING:
            return self._seen(wish, ProcessState.RUNNING)
        if attempt.life is Life.BEGINNING:
            return self._seen(wish, ProcessState.STARTING, *STARTING)
        if wish.stopped or wish.deleted:
            return self._exited(wish, never_ran(STOPPED, "It was stopped before it started."))
        return self._begin(wish, pool, order)

    def _is_late(self, wish: Wish) -> bool:
        """Whether it has run for too long; from then on that is written down, and it ends so."""
        limit, witness = _run_limit(wish), self._attempt.witness
        if limit is None or witness is None:
            return False
        if self._attempt.verdict is None and witness.age > limit:
            self._attempt.condemn(TerminationReason.DEADLINE_EXCEEDED, ran_too_long(limit))
        return self._attempt.verdict is not None

    def _begin(self, wish: Wish, pool: Pool, order: Order) -> JobObservation:
        gpus = pool.take(self.holder, wish.spec.resources.gpus)
        if gpus is None:
            return self._wait(wish, "Unschedulable", pool.why_waiting(self.holder, wish.spec.resources.gpus))
        if order is not Order.GO:
            return self._wait(wish, "PlatformStopping", "The platform is being stopped.")
        try:
            self._attempt.prepare(gpus=gpus)
            self._launcher.launch(self._attempt, wish.spec, self._settings.job_patience)
        except OSError as error:
            return self._wait(wish, "LaunchFailed", f"Its process cannot be started: {error.strerror or error}.")
        return self._seen(wish, ProcessState.STARTING, *STARTING)

    def _wait(self, wish: Wish, reason: str, message: str) -> JobObservation:
        limit = wish.spec.start_deadline.total_seconds()
        if wish.accepted.age <= limit:
            return self._seen(wish, ProcessState.WAITING, reason, message)
        late = f"It did not start within {limit:g} s. {message}"
        return self._exited(wish, never_ran(TerminationReason.DEADLINE_EXCEEDED, late))

    def _exited(self, wish: Wish, end: Termination) -> JobObservation:
        return replace(self._seen(wish, ProcessState.EXITED, end.reason, end.message), termination=end)

    def _seen(self, wish: Wish, state: ProcessState, reason: str = "", message: str = "") -> JobObservation:
        process = self._attempt.process
        started_at = datetime.fromtimestamp(process["at"], UTC) if process else None
        notes = notes_of(wish.spec)
        return JobObservation(self._name, wish.spec.uid, state, reason, message, started_at=started_at, notes=notes)


def _run_limit(wish: Wish) -> float | None:
    limit = wish.spec.run_deadline if isinstance(wish.spec, JobSpec) else None
    return limit.total_seconds() if limit else None
