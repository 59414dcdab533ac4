"""Conditions: what is known of a job or a deployment, and the one summary word derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    EVICTED = "Evicted"
    NODE_LOST = "NodeLost"
    STOPPED = "Stopped"  # told to, and without words of its own
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    NO_ANSWER = "NoAnswer"
    PORT_TAKEN = "PortTaken"


def with_condition(conditions: Sequence[Condition], new: Condition) -> tuple[Condition, ...]:
    """`conditions` with `new` in the place of its type. The transition time stays while the status stays the same."""
    old = find(conditions, new.type)
    if old is None:
        return (*conditions, new)
    if old.status is new.status:
        new = replace(new, last_transition_time=old.last_transition_time)
    return tuple(new if condition is old else condition for condition in conditions)


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Sequence[Condition], type_: str) -> bool:
    found = find(conditions, type_)
    return found is not None and found.status is Status.TRUE


def job_phase(conditions: Sequence[Condition]) -> JobPhase:
    """The summary word: the last of what has become true, a final one first."""
    return next((phase for type_, phase in _JOB_PHASES if is_true(conditions, type_)), JobPhase.QUEUED)


_JOB_PHASES: tuple[tuple[str, JobPhase], ...] = (
    ("Complete", JobPhase.SUCCEEDED),
    ("Cancelled", JobPhase.CANCELLED),
    ("Failed", JobPhase.FAILED),
    ("Started", JobPhase.RUNNING),
    ("Scheduled", JobPhase.STARTING),
)
