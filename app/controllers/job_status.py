"""What an observation means for a job's status: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.core.conditions import (
    Condition,
    Status,
    Termination,
    TerminationReason,
    is_true,
    job_phase,
    with_condition,
)
from app.core.errors import Refusal
from app.core.tasks import Desired, JobStatus
from app.runtimes.base import JobObservation, ProcessState

_DELETED = "The runtime knows nothing of it any more, so somebody deleted it there. It is not started again."


def seen(status: JobStatus, found: JobObservation, now: datetime) -> JobStatus:
    """A job that the runtime keeps and that has not ended. One that is run again waits and starts again."""
    if found.state is ProcessState.WAITING:
        waiting = Condition("Scheduled", Status.FALSE, found.reason or "Waiting", found.message, now)
        status = _with(status, waiting)
        if is_true(status.conditions, "Started"):
            status = _with(status, replace(waiting, type="Started"))
        return replace(status, notes=found.notes)
    status = _with(status, Condition("Scheduled", Status.TRUE, "Scheduled", "It has its place.", now))
    return replace(
        _with(status, _started(found, now)), notes=found.notes, started_at=status.started_at or found.started_at
    )


def _started(found: JobObservation, now: datetime) -> Condition:
    if found.state is ProcessState.STARTING:
        message = found.message or "It has its place, and is about to start."
        return Condition("Started", Status.FALSE, found.reason or "Starting", message, now)
    reason = "Stopping" if found.state is ProcessState.STOPPING else "Running"
    message = found.message or ("It was asked to stop." if reason == "Stopping" else "The trainer is running.")
    return Condition("Started", Status.TRUE, reason, message, now)


def ended(status: JobStatus, found: JobObservation, desired: Desired, now: datetime) -> JobStatus:
    """A job that has ended. Complete wins over a stop that came too late."""
    termination = found.termination
    assert termination is not None
    if found.started_at:  # a job may end between two looks: it has run all the same
        status = seen(status, replace(found, state=ProcessState.RUNNING, message=""), now)
    if termination.reason == TerminationReason.COMPLETED:
        type_ = "Complete"
    elif desired is Desired.STOP:
        type_ = "Cancelled"
        termination = replace(termination, reason="Cancelled", message="It was cancelled; its log and MLflow run stay.")
    else:
        type_ = "Failed"
    status = _with(status, Condition(type_, Status.TRUE, termination.reason, termination.message, now))
    progress = 100.0 if type_ == "Complete" else status.progress
    return replace(
        status, termination=termination, progress=progress, ended_at=termination.finished_at, notes=found.notes
    )


def vanished(status: JobStatus, desired: Desired, now: datetime) -> JobStatus:
    """A job of which the runtime knows nothing any more, or that was cancelled before it was launched."""
    if desired is Desired.STOP:
        type_, reason, message = "Cancelled", "Cancelled", "It was cancelled before it started."
    else:
        type_, reason, message = "Failed", TerminationReason.LOST.value, _DELETED
    termination = Termination(reason, None, None, message, now)
    return replace(
        _with(status, Condition(type_, Status.TRUE, reason, message, now)), termination=termination, ended_at=now
    )


def never_launched(status: JobStatus, refusal: Refusal, now: datetime) -> JobStatus:
    """A job that the runtime refused after it had been accepted: the machine changed in between."""
    reason = "".join(word.capitalize() for word in refusal.code.split("-"))
    termination = Termination(reason, None, None, refusal.detail, now)
    failed = Condition("Failed", Status.TRUE, reason, refusal.detail, now)
    return replace(_with(status, failed), termination=termination, ended_at=now)


def _with(status: JobStatus, condition: Condition) -> JobStatus:
    conditions = with_condition(status.conditions, condition)
    return replace(status, conditions=conditions, phase=job_phase(conditions))
