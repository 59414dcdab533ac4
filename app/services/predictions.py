"""Predictions that the proxy could not carry: why not, in words."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import NoReturn

from app.core.conditions import DeploymentPhase, find
from app.core.errors import DeploymentNotReady
from app.core.tasks import Desired
from app.store.deployments import DeploymentStore

_RETRY_AFTER = {DeploymentPhase.DEPLOYING: 2, DeploymentPhase.READY: 1, DeploymentPhase.DEGRADED: 2}


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
        left = found.wake_left(datetime.now(UTC)) if wakes else None
        raise DeploymentNotReady(
            task_id,
            reason,
            message,
            retry_after=_RETRY_AFTER.get(seen.phase, 30) if left is None else max(1, math.ceil(left)),
            may_recover=wakes or seen.phase in _RETRY_AFTER,
        )
