"""How a rollout stands, and which version should run: pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.core.conditions import Condition, Status, with_condition
from app.core.specs import ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Serving
from app.runtimes.base import ProcessState, ServerObservation

PROGRESSING = "Progressing"


def target_of(deployment: Deployment) -> ServerSpec:
    """What should run now: what is wanted, or, once its rollout has failed, what served before."""
    status = deployment.status
    if status.serving is not None and status.failed_revision == deployment.revision:
        return replace(status.serving.spec, replicas=deployment.spec.replicas)
    return deployment.spec


def is_told(found: ServerObservation, deployment: Deployment, target: ServerSpec) -> bool:
    """Whether the runtime was told of `target`. What an earlier version of the platform launched bears no digest; it is
    that of the first revision, and no reason to start everything anew."""
    same = found.digest == target.digest or (found.digest == "" and deployment.revision == 1)
    return same and found.wanted == target.replicas


def with_progress(
    status: DeploymentStatus, deployment: Deployment, found: ServerObservation, failure: str, now: datetime
) -> DeploymentStatus:
    """`status` with what the observation says of a rollout. `failure` says why the new version is given up, if it is.

    Nothing is said of a deployment that has served one model only, nor of a rollout that has ended.
    """
    serving, spec = status.serving, deployment.spec
    is_over = serving is not None and serving.revision == deployment.revision
    if is_over or status.failed_revision == deployment.revision or spec.replicas == 0:
        return status
    rolled = sum(one.state is ProcessState.RUNNING for one in found.replicas if one.digest == spec.digest)
    if rolled > status.rolled:
        status = replace(status, rolled=rolled, wanted_since=now if serving else status.wanted_since)
    if found.digest == spec.digest and rolled >= spec.replicas:
        now_serving = Serving(deployment.revision, deployment.run_id, deployment.model_version, spec)
        words = f"All {spec.replicas} replicas run the new model."
        return _said(replace(status, serving=now_serving), deployment, Status.FALSE, "RolledOut", words, now)
    if failure and serving is not None and serving.spec.digest != spec.digest:
        words = f"{failure} The old version goes on serving; PATCH again or back."
        failed = replace(status, failed_revision=deployment.revision)
        return _said(failed, deployment, Status.FALSE, "RolloutFailed", words, now)
    words = f"{rolled} of {spec.replicas} replicas run the new model."
    waiting = [one for one in found.replicas if one.digest == spec.digest and one.state is not ProcessState.RUNNING]
    words += f" The next one: {waiting[0].message}" if waiting and waiting[0].message else ""
    return _said(status, deployment, Status.TRUE, "RollingOut", words, now)


def _said(
    status: DeploymentStatus, deployment: Deployment, progressing: Status, reason: str, words: str, now: datetime
) -> DeploymentStatus:
    if deployment.revision == 1:
        return status
    condition = Condition(PROGRESSING, progressing, reason, words, now)
    return replace(status, conditions=with_condition(status.conditions, condition))
