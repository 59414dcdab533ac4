"""Predictions that the proxy could not carry: why not, in words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NoReturn

from app.core.conditions import DeploymentPhase, find
from app.core.errors import DeploymentNotReady
from app.core.scaling import usual_seconds
from app.core.tasks import Deployment, Desired
from app.store.deployments import DeploymentStore

_RETRY_AFTER = {DeploymentPhase.DEPLOYING: 2, DeploymentPhase.READY: 1, DeploymentPhase.DEGRADED: 2}
_WAKING = (DeploymentPhase.ASLEEP, DeploymentPhase.DEPLOYING)


class PredictionService:
    """The hot path is the proxy's; only requests for which it has no ready replica come here."""

    def __init__(self, store: DeploymentStore) -> None:
        self._store = store

    async def explain(self, task_id: str) -> NoReturn:
        """Raises `DeploymentNotFound`, or `DeploymentNotReady` with the reason and when to try again."""
        found = await self._store.get(task_id)
        if found.desired is Desired.STOP:
            raise DeploymentNotReady(task_id, "Deleting", "it is being deleted.", retry_after=30, may_recover=False)
        seen = found.status
        ready = find(seen.conditions, "Ready")
        reason = ready.reason if ready else seen.phase.value
        message = ready.message if ready else "it was accepted a moment ago."
        wakes = found.elastic is not None and seen.phase is not DeploymentPhase.FAILED
        raise DeploymentNotReady(
            task_id,
            reason,
            message,
            retry_after=_rest(found, datetime.now(UTC)) or _RETRY_AFTER.get(seen.phase, 30),
            may_recover=wakes or seen.phase in _RETRY_AFTER,
        )


def _rest(deployment: Deployment, now: datetime) -> int | None:
    """Seconds until a deployment that sleeps or is being woken should be ready, judged by its last wakes."""
    seen, usual = deployment.status, usual_seconds(deployment.status.wakes)
    if usual is None or deployment.elastic is None or seen.phase not in _WAKING:
        return None
    since = seen.wanted_since if seen.wanted else None
    gone = (now - since).total_seconds() if since else 0.0
    rest = usual - min(max(gone, 0.0), usual)  # a wall clock may have jumped
    return max(1, math.ceil(rest))
