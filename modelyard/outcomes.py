"""Outcomes: what is said of a task that ended badly, or that was not done in time."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard.errors import ModelyardError
from modelyard.records import DeploymentStatus, JobPhase, JobStatus

_BAD_ENDS: Mapping[str, str] = {JobPhase.FAILED: "failed", JobPhase.CANCELLED: "was cancelled"}


class TaskFailed(ModelyardError):  # noqa: N818 - the family's name says that these are errors
    """The job that was waited for failed or was cancelled, or the deployment failed; `task_status` says all of it."""

    def __init__(self, detail: str, task_status: JobStatus | DeploymentStatus) -> None:
        super().__init__(detail, code="task-failed")
        self.task_status = task_status


def check(task_id: str, status: JobStatus | DeploymentStatus) -> None:
    """Raise `TaskFailed` if it is the status of a task that ended badly."""
    if word := _BAD_ENDS.get(status.phase):
        kind = "Training job" if isinstance(status, JobStatus) else "Deployment"
        end = status.termination if isinstance(status, JobStatus) else None
        reason, message = (end.reason, end.message) if end else (status.reason, status.message)
        because = f" ({reason or status.reason})" if reason or status.reason else ""
        why = message or status.message
        raise TaskFailed(f"{kind} {task_id} {word}{because}{': ' + why if why else '.'}", status)


def late(task_id: str, timeout: float | None, status: JobStatus | DeploymentStatus | None) -> str:
    """The sentence for a wait of `timeout` seconds that was too short; `status` is the last one seen."""
    if status is None:
        return f"Nothing was heard of {task_id!r} in {timeout or 0:g} seconds."
    why = f": {status.message}" if status.message else "."
    return f"{task_id!r} is still {status.phase} after {timeout or 0:g} seconds{why}"
