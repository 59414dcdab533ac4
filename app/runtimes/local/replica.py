"""One replica of a server: its state at each look, and its back-off between two starts."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping

from app.core.addresses import Address
from app.core.conditions import Termination, TerminationReason
from app.core.scaling import StartPhase
from app.core.specs import ServerSpec
from app.runtimes.base import ProcessState, ReplicaObservation
from app.runtimes.local.attempt import Attempt, Life, Slot
from app.runtimes.local.files import read_json, write_json
from app.runtimes.local.gpus import Pool
from app.runtimes.local.jobs import STARTING
from app.runtimes.local.launcher import Launcher
from app.runtimes.local.probe import Prober
from app.runtimes.local.records import server_spec, spec_record
from app.runtimes.local.settings import LocalSettings
from app.runtimes.local.termination import termination_of
from app.runtimes.local.turns import Turns
from app.runtimes.local.wishes import Order

DEADLINE = "StartDeadlineExceeded"
NO_ANSWER = "NoAnswer"
HOPELESS_CODES = (2, 3)  # of programs that say: what I was told to do is wrong, not the moment
HOPELESS_REASONS = (TerminationReason.LETTER_UNREADABLE, TerminationReason.MODEL_UNREADABLE)


class Replica:
    """Brings one replica to life, or, when it is `going`, to its end."""

    def __init__(
        self,
        name: str,
        slot: Slot,
        spec: ServerSpec,
        settings: LocalSettings,
        launcher: Launcher,
        turns: Turns | None,
        before: ReplicaObservation | None,
    ) -> None:
        self.name, self.digest, self.going = name, spec.digest, False
        self.attempt: Attempt = slot.last_attempt() or slot.attempt(1)
        self.prober: Prober | None = None
        self._slot, self._spec, self._settings, self._launcher = slot, spec, settings, launcher
        self._turns = turns
        self._was_ready = before is not None and before.state is ProcessState.RUNNING
        self._last = before.last_termination if before else None
        self._failures = int(self.attempt.launch.get("failures", 0))
        self._counted = 0  # the last attempt whose end has gone into the back-off
        self._not_before = 0.0
        self._hopeless = False  # its last end was one that another start cannot mend
        self._waiting_since = time.monotonic()

    @property
    def holder(self) -> str:
        return f"server {self.name}"

    @property
    def ready(self) -> bool:
        return self.attempt.alive and self.prober is not None and self.prober.health.ready

    @property
    def tried(self) -> bool:
        """Whether it has ever been launched."""
        return self.attempt.number > 1 or self.attempt.life is not Life.ABSENT

    def look(self) -> None:
        life = self.attempt.look()
        if life is Life.RUNNING and self.prober is None:
            self.prober = Prober(self.attempt, self._spec.health_path, self._settings, was_ready=self._was_ready)
        if life in (Life.ENDED, Life.LOST) and self._counted != self.attempt.number:
            self._counted = self.attempt.number
            self._has_ended()

    def _has_ended(self) -> None:
        """Note how it ended and choose when it may start again: at once if it was the platform that stopped."""
        steady = self.prober and self.prober.health.ready and self.prober.age >= self._settings.stable_after
        self.prober, self._was_ready = None, False
        self._last = termination_of(self.attempt, stop_wished=self.going)
        if self.attempt.end and self.attempt.end["asked"] and not self.attempt.verdict:
            self._failures = 0
            return
        self._hopeless = self._last.exit_code in HOPELESS_CODES and self._last.reason in HOPELESS_REASONS
        self._failures = 1 if steady else self._failures + 1
        pause = self._settings.backoff_first * 2.0 ** min(self._failures - 1, 30)
        self._not_before = time.monotonic() + min(self._settings.backoff_last, pause)

    @property
    def starting(self) -> bool:
        """Whether it has taken a turn and was neither ready since nor given up."""
        was_ready = self.prober is not None and self.prober.was_ready
        return self._turns is not None and self.attempt.alive and not was_ready and not self.attempt.verdict

    @property
    def backoff_left(self) -> float:
        if self._hopeless:
            return math.inf
        left = self._not_before - time.monotonic()
        return left if left > 0 and not self.attempt.alive else math.inf

    def step(self, pool: Pool, order: Order) -> ReplicaObservation | None:
        """What is so after one step; None when it has gone for good."""
        if self.attempt.alive:
            return self._living(order)
        if self.going:
            shutil.rmtree(self._slot.folder, ignore_errors=True)
            return None
        if order is not Order.GO or self._hopeless or self.backoff_left < math.inf:
            return self._between()
        return self._begin(pool)

    def _living(self, order: Order) -> ReplicaObservation:
        verdict = self.attempt.verdict or self._judge()
        if self.going or order is Order.STOP or verdict:
            self.attempt.ask_to_stop(self._settings.server_patience.total)
            reason, message = (
                (verdict["reason"], verdict["message"]) if verdict else ("Stopped", "It was told to stop.")
            )
            return self._seen(ProcessState.STOPPING, reason, message)
        if self.prober is None:
            return self._seen(ProcessState.STARTING, *STARTING, phase=StartPhase.START)
        health = self.prober.health
        if health.ready:
            return self._seen(ProcessState.RUNNING, seconds=health.seconds)
        return self._seen(ProcessState.STARTING, health.reason, health.message, phase=health.phase)

    def _judge(self) -> dict[str, str] | None:
        """Whether it has had its chance: too long not ready, or ready once and now without an answer."""
        if self.prober is None or self.prober.health.ready:
            return None
        limit = self._spec.start_deadline.total_seconds()
        health = self.prober.health
        if self.prober.was_ready and health.unanswered >= self._settings.restart_after:
            self.attempt.condemn(NO_ANSWER, f"{health.message} It is restarted.")
        elif self.prober.age > limit:
            self.attempt.condemn(DEADLINE, f"It was not ready within {limit:g} s and is restarted. {health.message}")
        else:
            return None
        verdict = self.attempt.verdict
        return dict(verdict) if verdict else None

    def _begin(self, pool: Pool) -> ReplicaObservation:
        count = self._spec.resources.gpus
        gpus = pool.take(self.holder, count)
        if gpus is None:
            return self._wait("Unschedulable", pool.why_waiting(self.holder, count))
        if self._turns and not self._turns.take(self.holder):
            return self._seen(ProcessState.WAITING, "Queued", self._turns.why_waiting(self.holder))
        try:
            self._launch(gpus)
        except OSError as error:
            return self._wait("LaunchFailed", f"Its process cannot be started: {error.strerror or error}.")
        self._waiting_since = time.monotonic()
        return self._seen(ProcessState.STARTING, *STARTING, phase=StartPhase.START)

    def _launch(self, gpus: tuple[str, ...]) -> None:
        if self.attempt.life is not Life.ABSENT:
            self._slot.forget_before(self.attempt.number)
            self.attempt = self._slot.attempt(self.attempt.number + 1)
        keep_spec(self._slot, self._spec)
        self.attempt.prepare(gpus=gpus, failures=self._failures)
        self._launcher.launch(self.attempt, self._spec, self._settings.server_patience)

    def _wait(self, reason: str, message: str) -> ReplicaObservation:
        limit = self._spec.start_deadline.total_seconds()
        if time.monotonic() - self._waiting_since > limit:
            return self._seen(ProcessState.WAITING, DEADLINE, f"It could not start within {limit:g} s. {message}")
        return self._seen(ProcessState.WAITING, reason, message)

    def _between(self) -> ReplicaObservation:
        last: Termination | None = self._last
        reason, message = (last.reason, last.message) if last else ("Stopped", "The platform is being stopped.")
        return self._seen(ProcessState.EXITED, reason, message)

    def _seen(
        self, state: ProcessState, reason: str = "", message: str = "", *,
        phase: StartPhase | None = None, seconds: Mapping[StartPhase, float] | None = None,
    ) -> ReplicaObservation:  # fmt: skip
        return ReplicaObservation(
            self.name,
            state,
            reason,
            message,
            address=self._address(),
            restarts=self.attempt.number - 1,
            last_termination=self._last,
            digest=self.digest,
            phase=phase,
            seconds=seconds or {},
        )

    def _address(self) -> Address | None:
        found = self.attempt.address if self.attempt.alive else None
        return Address(*found) if found else None


def keep_spec(slot: Slot, spec: ServerSpec) -> None:
    """Note what the replica of this slot is made from, before its first start; it stays so for the slot's life."""
    note = slot.folder / _SPEC
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, spec_record(spec))


def kept_spec(slot: Slot) -> ServerSpec | None:
    record = read_json(slot.folder / _SPEC, {"program": dict})
    return server_spec(record) if record else None


_SPEC = "spec.json"
