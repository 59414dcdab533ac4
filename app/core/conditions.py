"""Conditions: what is known of a job or a deployment, and the one summary word derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Status(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """`reason` is one stable CamelCase word for programs; `message` is a sentence for people."""

    type: str
    status: Status
    reason: str
    message: str
    last_transition_time: datetime


class JobPhase(StrEnum):
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_JOB_PHASES


FINAL_JOB_PHASES = frozenset({JobPhase.SUCCEEDED, JobPhase.FAILED, JobPhase.CANCELLED})


class DeploymentPhase(StrEnum):
    DEPLOYING = "Deploying"
    READY = "Ready"
    DEGRADED = "Degraded"
    ASLEEP = "Asleep"
    FAILED = "Failed"
    DELETING = "Deleting"


@dataclass(frozen=True, slots=True)
class Termination:
    """How a process ended. `reason` is a stable word; `signal` a name such as SIGKILL; `message` one sentence."""

    reason: str
    exit_code: int | None
    signal: str | None
    message: str
    finished_at: datetime


class TerminationReason(StrEnum):
    COMPLETED = "Completed"
    LETTER_UNREADABLE = "LetterUnreadable"
    DATA_UNREADABLE = "DataUnreadable"
    MODEL_UNREADABLE = "ModelUnreadable"
    INTERRUPTED = "Interrupted"
    OUT_OF_MEMORY = "OOMKilled"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    TRACKING_UNAVAILABLE = "TrackingUnavailable"
    CRASHED = "Crashed"
    LOST = "Lost"


class Conditions:
    """An ordered set of conditions by type. `set` keeps the transition time while the status stays the same."""

    def __init__(self, conditions: Iterable[Condition] = ()) -> None:
        self._by_type: dict[str, Condition] = {c.type: c for c in conditions}

    def __iter__(self) -> Iterator[Condition]:
        return iter(self._by_type.values())

    def get(self, type_: str) -> Condition | None:
        return self._by_type.get(type_)

    def is_true(self, type_: str) -> bool:
        found = self._by_type.get(type_)
        return found is not None and found.status is Status.TRUE

    def with_(self, type_: str, status: Status, reason: str, message: str, now: datetime) -> Conditions:
        old = self._by_type.get(type_)
        since = old.last_transition_time if old and old.status is status else now
        return Conditions({**self._by_type, type_: Condition(type_, status, reason, message, since)}.values())


def job_phase(conditions: Conditions) -> JobPhase:
    """The summary word: the newest of what has become true, a final one first."""
    for type_, phase in _JOB_PHASES:
        if conditions.is_true(type_):
            return phase
    return JobPhase.QUEUED


_JOB_PHASES: tuple[tuple[str, JobPhase], ...] = (
    ("Complete", JobPhase.SUCCEEDED),
    ("Cancelled", JobPhase.CANCELLED),
    ("Failed", JobPhase.FAILED),
    ("Started", JobPhase.RUNNING),
    ("Scheduled", JobPhase.STARTING),
)


def to_record(condition: Condition) -> Mapping[str, str]:
    """A condition as plain JSON values, for the store."""
    return {
        "type": condition.type,
        "status": condition.status.value,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time.isoformat(),
    }


def from_record(record: Mapping[str, str]) -> Condition:
    return Condition(
        record["type"],
        Status(record["status"]),
        record["reason"],
        record["message"],
        datetime.fromisoformat(record["lastTransitionTime"]),
    )
