"""Tasks as the store remembers them: what was asked for, and what was last seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.core.conditions import Condition, DeploymentPhase, JobPhase, Termination
from app.core.scaling import Elastic, Wake, usual_seconds
from app.core.specs import JobSpec, ServerSpec


class Desired(StrEnum):
    RUN = "run"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What was last seen of a job. `metrics` are the newest values; `progress` is in percent."""

    conditions: tuple[Condition, ...] = ()
    phase: JobPhase = JobPhase.QUEUED
    progress: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    run_id: str | None = None
    termination: Termination | None = None
    notes: tuple[str, ...] = ()
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One training job. `request` is the caller's body, normalised; `sequence` orders jobs by their acceptance."""

    sequence: int
    task_id: str
    uid: str
    request: Mapping[str, Any]
    spec: JobSpec
    desired: Desired
    status: JobStatus
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Serving:
    """The version that was last rolled out wholly, kept so that a failed rollout can go back to it."""

    revision: int
    run_id: str
    model_version: str | None
    spec: ServerSpec


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """What was last seen of a deployment: how many replicas are ready, and why not more.

    `failed_revision` is the one whose rollout was given up, `rolled` how many replicas ran the wanted one at best.
    `wakes` are the last starts from no replica, the newest last.
    """

    conditions: tuple[Condition, ...] = ()
    phase: DeploymentPhase = DeploymentPhase.DEPLOYING
    ready: int = 0
    restarts: int = 0
    wanted: int | None = None
    wanted_since: datetime | None = None  # when the replica count or the revision was last seen to change
    notes: tuple[str, ...] = ()
    revision: int | None = None
    rolled: int = 0
    serving: Serving | None = None
    failed_revision: int | None = None
    wakes: tuple[Wake, ...] = ()


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployed model. `run_id` and `model_version` are what the wanted model resolved to when it was asked for.

    `request` stays as it was posted; `model` holds the fields of it that name a model, if a later change named another.
    `revision` counts the models that were asked for.

    With `elastic` the platform decides within its bounds how many replicas there shall be: `spec.replicas` is what it
    decided last, and `woken` counts how often that became more than none by itself.
    """

    sequence: int
    task_id: str
    uid: str
    model_id: str
    request: Mapping[str, Any]
    spec: ServerSpec
    desired: Desired
    run_id: str
    model_version: str | None
    status: DeploymentStatus
    created_at: datetime
    revision: int = 1
    model: Mapping[str, Any] = field(default_factory=dict)
    elastic: Elastic | None = None
    woken: int = 0

    @property
    def wanted(self) -> Mapping[str, Any]:
        """The request, with the model that is wanted now."""
        return {**self.request, **self.model}

    def wake_left(self, now: datetime) -> float | None:
        """Seconds until one that sleeps (if it were woken now) or is being woken should be ready, judged by its last
        wakes; None if nothing is known of that."""
        seen, usual = self.status, usual_seconds(self.status.wakes)
        if usual is None or seen.phase not in (DeploymentPhase.ASLEEP, DeploymentPhase.DEPLOYING):
            return None
        since = seen.wanted_since if seen.wanted else None
        gone = (now - since).total_seconds() if since else 0.0
        return usual - min(max(gone, 0.0), usual)  # a wall clock may have jumped
