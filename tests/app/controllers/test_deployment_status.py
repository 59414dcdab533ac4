"""What observations mean for a deployment's status, where time matters."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from app.controllers.deployment_status import failure_of, status_of
from app.controllers.rollouts import is_told, target_of, with_progress
from app.core.conditions import DeploymentPhase, find
from app.core.specs import Program, Resources, ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired, Serving
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


OLD, NEW = replace(SPEC, health_path="/old"), replace(SPEC, health_path="/new")
SERVED = DeploymentStatus(
    wanted=2, revision=2, wanted_since=NOW, serving=Serving(1, "r", None, replace(OLD, replicas=2))
)


def rolling(status: DeploymentStatus = SERVED) -> Deployment:
    """Two replicas, whose model was changed just now."""
    return replace(deployment(NOW, 2, status), spec=replace(NEW, replicas=2), revision=2)


def seen(*replicas: tuple[ServerSpec, ProcessState], told: ServerSpec = NEW) -> ServerObservation:
    found = tuple(ReplicaObservation("serve-a", state, "Loading", "L.", digest=of.digest) for of, state in replicas)
    return ServerObservation("serve-a", "u", 2, found, digest=told.digest)


def after(found: ServerObservation, seconds: float, status: DeploymentStatus = SERVED) -> DeploymentStatus:
    now = NOW + timedelta(seconds=seconds)
    one = rolling(status)
    return with_progress(status_of(one, found, now), one, found, failure_of(one, found, now), now)


def progress(status: DeploymentStatus) -> str:
    condition = find(status.conditions, "Progressing")
    return condition.reason if condition else ""


UP, DOWN = ProcessState.RUNNING, ProcessState.STARTING
LATE = DEADLINE.total_seconds() + 1


def test_each_replica_of_a_rollout_has_its_whole_deadline() -> None:
    first = after(seen((OLD, UP), (OLD, UP), (NEW, DOWN)), 0)
    assert (progress(first), first.ready, first.phase) == ("RollingOut", 2, DeploymentPhase.READY)
    second = after(seen((OLD, UP), (NEW, UP), (NEW, DOWN)), LATE - 2, first)
    assert progress(second) == "RollingOut"
    assert progress(after(seen((OLD, UP), (NEW, UP), (NEW, DOWN)), LATE, second)) == "RollingOut"
    assert progress(after(seen((OLD, UP), (NEW, UP), (NEW, DOWN)), 2 * LATE, second)) == "RolloutFailed"


def test_a_rollout_that_failed_goes_back_to_what_served_in_the_number_that_is_wanted() -> None:
    failed = after(seen((OLD, UP), (OLD, UP), (NEW, DOWN)), LATE)
    assert (progress(failed), failed.failed_revision) == ("RolloutFailed", 2)
    asked = replace(rolling(failed), spec=replace(NEW, replicas=5))
    assert target_of(asked) == replace(OLD, replicas=5)
    assert target_of(replace(asked, revision=3)) == replace(NEW, replicas=5)
    back = after(seen((OLD, UP), (OLD, UP), told=OLD), LATE + 5, failed)
    assert (progress(back), back.serving) == ("RolloutFailed", SERVED.serving)


def test_what_is_seen_before_the_runtime_was_told_ends_no_rollout() -> None:
    assert progress(after(seen((NEW, UP), (NEW, UP), told=OLD), 0)) == "RollingOut"
    assert progress(after(seen((OLD, UP), (OLD, UP), told=OLD), LATE)) == "RollingOut"
    done = after(seen((NEW, UP), (NEW, UP)), 0)
    assert (progress(done), done.serving and done.serving.revision) == ("RolledOut", 2)


def test_what_an_earlier_platform_launched_is_not_started_anew() -> None:
    unmarked = ServerObservation("serve-a", "u", 1, (ReplicaObservation("serve-a-0", UP),))
    assert is_told(unmarked, deployment(NOW), SPEC)
    assert not is_told(unmarked, replace(deployment(NOW), revision=2), SPEC)
