"""What observations mean for a deployment's status, where time matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.controllers.deployment_status import status_of
from app.core.conditions import DeploymentPhase
from app.core.specs import Program, Resources, ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DEADLINE = timedelta(minutes=10)
SPEC = ServerSpec("serve-a", "a", "u", Program("m", {}, "i"), Resources(1, 1), DEADLINE)
STARTING = ServerObservation(
    "serve-a", "u", 1, (ReplicaObservation("serve-a-0", ProcessState.STARTING, "Loading", "."),)
)


def deployment(created: datetime, replicas: int = 1, status: DeploymentStatus | None = None) -> Deployment:
    spec = replace(SPEC, replicas=replicas)
    return Deployment(1, "a", "u", "m", {}, spec, Desired.RUN, "r", None, status or DeploymentStatus(), created)


def test_one_that_is_not_ready_by_its_deadline_has_failed() -> None:
    young = status_of(deployment(NOW - DEADLINE), STARTING, NOW)
    assert young.phase is DeploymentPhase.DEPLOYING
    old = status_of(deployment(NOW - DEADLINE), STARTING, NOW + timedelta(seconds=1))
    assert old.phase is DeploymentPhase.FAILED


def test_one_that_was_asleep_has_its_whole_deadline_to_wake() -> None:
    empty = ServerObservation("serve-a", "u", 0)
    asleep = status_of(deployment(NOW - 2 * DEADLINE, 0), empty, NOW - DEADLINE)
    assert asleep.phase is DeploymentPhase.ASLEEP
    woken = status_of(deployment(NOW - 2 * DEADLINE, 1, asleep), STARTING, NOW)
    assert woken.phase is DeploymentPhase.DEPLOYING
    late = status_of(deployment(NOW - 2 * DEADLINE, 1, woken), STARTING, NOW + DEADLINE + timedelta(seconds=1))
    assert late.phase is DeploymentPhase.FAILED
