"""What the platform says of how an elastic deployment follows its load: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from app.controllers.scaler import STARVED
from app.controllers.scaling import Decision
from app.core.conditions import Condition, Status, with_condition
from app.core.scaling import Elastic
from app.core.tasks import Deployment, DeploymentStatus
from app.runtimes.base import ServerObservation

SCALING = "Scaling"


def with_scaling(
    status: DeploymentStatus,
    deployment: Deployment,
    decision: Decision | None,
    found: ServerObservation | None,
    now: datetime,
) -> DeploymentStatus:
    """`Scaling` is true while the deployment gets as many replicas as its load takes, and false where it cannot.

    A deployment of a fixed number has no such condition.
    """
    if deployment.elastic is None or decision is None:
        rest = tuple(one for one in status.conditions if one.type != SCALING)
        return status if len(rest) == len(status.conditions) else replace(status, conditions=rest)
    said = Condition(SCALING, *_said(deployment.elastic, deployment.spec.replicas, decision, status, found), now)
    return replace(status, conditions=with_condition(status.conditions, said))


def _said(
    elastic: Elastic, wanted: int, decision: Decision, status: DeploymentStatus, found: ServerObservation | None
) -> tuple[Status, str, str]:
    starved = [one for one in found.replicas if one.reason == STARVED] if found else []
    if wanted == 0:
        return Status.TRUE, "Asleep", f"It has no replica until a prediction comes; then {_up_to(elastic)}."
    if starved:
        asked = elastic.within(max(decision.load_asks, wanted))
        placed = f"{asked} {_replicas(asked)} wanted, {wanted - len(starved)} found a place, and no more are asked for"
        return Status.FALSE, STARVED, f"{placed} until the next one does. {starved[0].message}"
    if decision.load_asks > elastic.max_replicas:
        return Status.FALSE, "AtMaximum", f"The load takes more than maxReplicas, {elastic.max_replicas}."
    if status.ready < wanted:
        return Status.TRUE, "ScalingUp", f"{status.ready} of {wanted} are ready."
    words = f"It has {wanted} {'replica' if wanted == 1 else 'replicas'}, of {_up_to(elastic)}"
    return Status.TRUE, "Steady", f"{words}, for {elastic.target_concurrency} predictions in flight each."


def _up_to(elastic: Elastic) -> str:
    low, high = max(1, elastic.min_replicas), elastic.max_replicas
    return f"{low}" if low == high else f"{low} to {high}"


def _replicas(count: int) -> str:
    return "replica is" if count == 1 else "replicas are"
