"""The controller of deployments: launches, scales, rolls out and removes servers, and records how ready they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import structlog

from app.controllers.deployment_status import deleting, failure_of, refused, status_of
from app.controllers.loop import for_each
from app.controllers.rollouts import is_told, target_of, with_progress
from app.controllers.scaler import Scaler
from app.controllers.scaling import Decision
from app.controllers.scaling_status import with_scaling
from app.controllers.wakes import WakeWatch
from app.core.errors import Refusal
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.runtimes.base import Runtime, ServerObservation
from app.store.deployments import DeploymentStore

log = structlog.get_logger(__name__)


class DeploymentController:
    def __init__(self, store: DeploymentStore, runtime: Runtime, scaler: Scaler, wakes: WakeWatch) -> None:
        self._store = store
        self._runtime = runtime
        self._scaler = scaler
        self._wakes = wakes

    async def round(self) -> None:
        """Compare every deployment with what the runtime knows, and act on the difference."""
        deployments = await self._store.all()
        if not deployments:
            return
        observed = await self._runtime.observe_servers([deployment.spec.name for deployment in deployments])
        await self._scaler.look(deployments)
        self._wakes.keep({deployment.uid for deployment in deployments})
        await for_each(deployments, lambda one: self._reconcile(one, observed.get(one.spec.name)))

    async def _reconcile(self, deployment: Deployment, found: ServerObservation | None) -> None:
        now = datetime.now(UTC)
        if deployment.desired is Desired.STOP:
            if found is None:
                await self._store.remove(deployment.uid)
                log.info("deployment_gone", task_id=deployment.task_id)
                return
            await self._runtime.delete(found.name)
            status = deleting(deployment.status, now)
        elif found is not None and found.uid != deployment.uid:
            await self._runtime.delete(found.name)  # an earlier life of the same name must go first
            status = deployment.status
        else:
            status = await self._run(*await self._scaled(deployment, found), found, now)
        if status != deployment.status:
            await self._store.record(deployment.uid, status)
            _log_change(deployment, status)

    async def _scaled(
        self, deployment: Deployment, found: ServerObservation | None
    ) -> tuple[Deployment, Decision | None]:
        """The deployment with as many replicas as its load takes, decided and kept before anything is told of it."""
        if deployment.elastic is None:
            return deployment, None
        decision = self._scaler.decide(deployment, found)
        before, after = deployment.spec.replicas, decision.replicas
        if after != before and await self._store.scale(deployment.uid, before, after):
            log.info("deployment_scaled", task_id=deployment.task_id, before=before, now=after)
            deployment = replace(deployment, spec=replace(deployment.spec, replicas=after))
        return deployment, decision

    async def _run(
        self, deployment: Deployment, decision: Decision | None, found: ServerObservation | None, now: datetime
    ) -> DeploymentStatus:
        target = target_of(deployment)
        if found is None or not is_told(found, deployment, target):
            try:
                await self._runtime.apply(target)
            except Refusal as refusal:
                return refused(deployment.status, refusal, now)
        status = self._wakes.see(deployment, found, status_of(deployment, found, now), now)
        status = with_scaling(status, deployment, decision, found, now)
        if found is None:
            return status
        return with_progress(status, deployment, found, failure_of(deployment, found, now), now)


def _log_change(deployment: Deployment, status: DeploymentStatus) -> None:
    if status.phase is not deployment.status.phase:
        log.info("deployment_changed", task_id=deployment.task_id, before=deployment.status.phase, now=status.phase)
