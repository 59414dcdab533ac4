"""What an observation means for a deployment's status: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.core.conditions import Condition, DeploymentPhase, Status, TerminationReason, find, is_true, with_condition
from app.core.errors import Refusal
from app.core.scaling import usual_seconds
from app.core.tasks import Deployment, DeploymentStatus
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation

# Reasons that another start cannot mend: the model itself is wrong.
_PERMANENT = frozenset({TerminationReason.MODEL_UNREADABLE, TerminationReason.LETTER_UNREADABLE})
_ON_ITS_WAY = (DeploymentPhase.ASLEEP, DeploymentPhase.DEPLOYING)  # before it answered, it slept or was being woken


def status_of(deployment: Deployment, found: ServerObservation | None, now: datetime) -> DeploymentStatus:
    """`Ready` means that every wanted replica has predicted its own input example and still answers; of an elastic
    deployment, as many as there have to be at least."""
    before = _counted(deployment, now)
    if found is None:
        return _with(before, DeploymentPhase.DEPLOYING, Status.FALSE, "Launching", "It is being launched.", now)
    wanted = deployment.spec.replicas
    ready = min(wanted, sum(replica.state is ProcessState.RUNNING for replica in found.replicas))  # a rollout has more
    before = replace(
        before, ready=ready, restarts=sum(replica.restarts for replica in found.replicas), notes=found.notes
    )
    if wanted == 0:
        return _with(before, DeploymentPhase.ASLEEP, Status.FALSE, *_why_asleep(deployment), now)
    elastic = deployment.elastic
    if ready >= (min(wanted, max(1, elastic.min_replicas)) if elastic else wanted):
        return _with(before, DeploymentPhase.READY, Status.TRUE, "Ready", f"{ready} of {wanted} are ready.", now)
    reason, message = _why(found.replicas)
    is_late = reason != "Queued" and now > _deadline(before, deployment)
    phase = _phase_short_of_ready(before, found, ready, is_late)
    if elastic and phase is DeploymentPhase.DEGRADED and not is_late and before.phase in _ON_ITS_WAY:
        phase = DeploymentPhase.DEPLOYING
    if phase is DeploymentPhase.FAILED and reason not in _PERMANENT and is_late:
        message = f"Not ready within {deployment.spec.start_deadline.total_seconds():g} s. {message}"
    return _with(before, phase, Status.FALSE, reason, f"{ready} of {wanted} are ready. {message}".strip(), now)


def failure_of(deployment: Deployment, found: ServerObservation, now: datetime) -> str:
    """Why the wanted version is given up, in a sentence; empty as long as there is hope."""
    new = [replica for replica in found.replicas if replica.digest == deployment.spec.digest]
    if found.digest != deployment.spec.digest or (all(one.state is ProcessState.RUNNING for one in new) and new):
        return ""
    reason, message = _why(new)
    if any(_ended_for_good(one) for one in new if one.state is not ProcessState.RUNNING):
        return f"The new model cannot serve ({reason}): {message}"
    if reason != "Queued" and now > _deadline(_counted(deployment, now), deployment):
        limit = deployment.spec.start_deadline.total_seconds()
        return f"The new model was not ready within {limit:g} s ({reason}): {message}"
    return ""


def deleting(before: DeploymentStatus, now: datetime) -> DeploymentStatus:
    return _with(before, DeploymentPhase.DELETING, Status.FALSE, "Deleting", "It is being deleted.", now)


def refused(before: DeploymentStatus, refusal: Refusal, now: datetime) -> DeploymentStatus:
    """The runtime refused what it had admitted: the machine changed in between."""
    reason = "".join(word.capitalize() for word in refusal.code.split("-"))
    return _with(before, DeploymentPhase.FAILED, Status.FALSE, reason, refusal.detail, now)


def _phase_short_of_ready(
    before: DeploymentStatus, found: ServerObservation, ready: int, is_late: bool
) -> DeploymentPhase:
    if ready > 0:
        return DeploymentPhase.DEGRADED if _was_ready(before) else DeploymentPhase.DEPLOYING
    if any(_ended_for_good(replica) for replica in found.replicas):
        return DeploymentPhase.FAILED
    if _was_ready(before):
        return DeploymentPhase.DEGRADED
    return DeploymentPhase.FAILED if is_late else DeploymentPhase.DEPLOYING


def _was_ready(status: DeploymentStatus) -> bool:
    """`Available` stays true once every replica was ready, so that what breaks later is not taken for a slow start."""
    return is_true(status.conditions, "Available")


def _ended_for_good(replica: ReplicaObservation) -> bool:
    return replica.last_termination is not None and replica.last_termination.reason in _PERMANENT


def _why(replicas: Sequence[ReplicaObservation]) -> tuple[str, str]:
    """The reason of the replica that is furthest from ready."""
    order = list(ProcessState)
    waiting = [replica for replica in replicas if replica.state is not ProcessState.RUNNING]
    if not waiting:
        return "Launching", "It is being launched."
    worst = max(waiting, key=lambda replica: (_ended_for_good(replica), order.index(replica.state)))
    if worst.last_termination is not None and not worst.message:
        return worst.last_termination.reason, worst.last_termination.message
    return worst.reason or worst.state.value, worst.message


def _why_asleep(deployment: Deployment) -> tuple[str, str]:
    if deployment.elastic is None:
        return "ScaledToZero", "It has no replicas."
    usual = usual_seconds(deployment.status.wakes)
    soon = f", in about {usual:.1f} s" if usual else ""
    return (
        "Asleep",
        f"It sleeps: no prediction came for {deployment.elastic.idle_seconds} s. The next one wakes it{soon}.",
    )


def _counted(deployment: Deployment, now: datetime) -> DeploymentStatus:
    """The status so far, with the moment since when this many replicas of this revision are wanted."""
    before, wanted, revision = deployment.status, deployment.spec.replicas, deployment.revision
    if before.wanted == wanted and before.revision in (revision, None):
        return replace(before, revision=revision)
    since = deployment.created_at if before.wanted is None else now
    return replace(before, wanted=wanted, revision=revision, wanted_since=since, rolled=0)


def _deadline(status: DeploymentStatus, deployment: Deployment) -> datetime:
    return (status.wanted_since or deployment.created_at) + deployment.spec.start_deadline


def _with(
    before: DeploymentStatus, phase: DeploymentPhase, ready: Status, reason: str, message: str, now: datetime
) -> DeploymentStatus:
    conditions = with_condition(before.conditions, Condition("Ready", ready, reason, message, now))
    if ready is Status.TRUE and find(conditions, "Available") is None:
        conditions = with_condition(
            conditions, Condition("Available", Status.TRUE, "WasReady", "Every replica has been ready.", now)
        )
    return replace(before, phase=phase, conditions=conditions)
