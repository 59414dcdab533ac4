"""Deployments: deploy, list, look, change, delete."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from app.core.conditions import Condition, DeploymentPhase, Status
from app.core.errors import BeingDeleted, Cause, ModelIdTaken, NeverFits, TaskExists
from app.core.scaling import Elastic
from app.core.specs import ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.runtimes.base import Runtime
from app.schemas.deployments import DeploymentPatch, DeployRequest
from app.services.planning import Planner
from app.services.sameness import differences
from app.store.deployments import DeploymentStore
from app.store.pages import Page
from app.tracking.mlflow import Mlflow, ModelRef


class DeploymentService:
    """`nudge` wakes the controllers that launch and route what was asked for here."""

    def __init__(
        self, store: DeploymentStore, runtime: Runtime, tracking: Mlflow, planner: Planner, nudge: Callable[[], None]
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._tracking = tracking
        self._planner = planner
        self._nudge = nudge

    async def deploy(self, request: DeployRequest) -> tuple[Deployment, bool]:
        """The deployment of this task id, and whether it is new. Equal bodies make one, also when sent at once.

        What was changed later does not make bodies different. Raises `TaskExists`, `ModelIdTaken`,
        `BeingDeleted`, what planning and the runtime refuse, and what MLflow does not know.
        """
        holder = await self._store.find(task_id=request.task_id) or await self._store.find(model_id=request.model_id)
        if holder is not None:
            return _same(holder, request), False
        kept, is_new = await self._store.add(await self._deployment(request))
        self._nudge()
        return (kept, True) if is_new else (_same(kept, request), False)

    async def dry_run(self, request: DeployRequest) -> Mapping[str, object]:
        """What `deploy` would launch, after all its checks; launches and keeps nothing."""
        return self._runtime.render((await self._deployment(request)).spec)

    async def get(self, task_id: str) -> Deployment:
        return await self._store.get(task_id)

    async def list(
        self, *, size: int, token: str, phase: DeploymentPhase | None, profile: str | None
    ) -> Page[Deployment]:
        return await self._store.list(size=size, token=token, phase=phase, profile=profile)

    async def change(self, task_id: str, patch: DeploymentPatch) -> Deployment:
        """Ask for another number of replicas or other bounds, or another model, or both; what is so changes nothing.

        Naming the model of a rollout that failed tries it once more. Of two changes at once the last one wins, whole.
        Raises `BeingDeleted`, and what `deploy` refuses.
        """
        found = await self._store.get(task_id)
        change = partial(self._changed, patch=patch, model=await self._model_named(found, patch))
        self._admit(change(found))
        deployment = await self._store.change(task_id, change)
        self._nudge()
        return deployment

    async def _model_named(self, found: Deployment, patch: DeploymentPatch) -> tuple[dict[str, Any], ModelRef] | None:
        """How the patch names a model, with what is left of the present naming, and the model behind it."""
        if not patch.names_a_model:
            return None
        request = DeployRequest.model_validate({**found.request, **patch.merged(found.wanted)})
        model = await self._model(request)
        self._planner.check_family(request, model.profile)
        return patch.merged(found.wanted), model

    def _changed(
        self, kept: Deployment, *, patch: DeploymentPatch, model: tuple[dict[str, Any], ModelRef] | None
    ) -> Deployment:
        if kept.desired is Desired.STOP:
            raise BeingDeleted(kept.task_id)
        if model is not None:
            kept = self._with_model(kept, *model)
        elastic = patch.elastic(kept.elastic)
        replicas = kept.spec.replicas if patch.replicas is None else patch.replicas
        spec = replace(kept.spec, replicas=elastic.within(replicas) if elastic else replicas)
        return replace(kept, spec=spec, elastic=elastic)

    def _admit(self, deployment: Deployment) -> None:
        """Raises what the runtime refuses, also of the replicas that it may have one day."""
        try:
            self._runtime.admit(_at_most(deployment.spec, deployment.elastic))
        except NeverFits as refusal:
            if deployment.elastic and refusal.causes[0].pointer == "/replicas":
                refusal.causes = (Cause("/maxReplicas", refusal.detail),)
            raise

    def _with_model(self, kept: Deployment, naming: dict[str, Any], model: ModelRef) -> Deployment:
        request = DeployRequest.model_validate({**kept.request, **naming})
        planned = self._planner.server(request, model.run_id, model.logged_model_id, kept.uid, model.facts)
        named = replace(kept, model=naming, run_id=model.run_id, model_version=model.version)
        if planned.digest == kept.spec.digest and kept.status.failed_revision != kept.revision:
            return named
        spec = replace(planned, replicas=kept.spec.replicas)
        return replace(named, spec=spec, revision=kept.revision + 1)

    async def delete(self, task_id: str) -> Deployment:
        """Ask for its end; harmless when repeated until it is gone. Then, and for unknown ids, `DeploymentNotFound`."""
        deployment = await self._store.stop(task_id)
        self._nudge()
        return deployment

    async def _deployment(self, request: DeployRequest) -> Deployment:
        uid, now, elastic = str(uuid.uuid4()), datetime.now(UTC), request.elastic()
        self._planner.server(
            request, "", "", uid
        )  # what is wrong with the request itself is said before MLflow is asked
        model = await self._model(request)
        self._planner.check_family(request, model.profile)
        spec = self._planner.server(request, model.run_id, model.logged_model_id, uid, model.facts)
        if elastic:
            spec = replace(spec, replicas=max(1, elastic.min_replicas))
        accepted = Condition("Accepted", Status.TRUE, "Accepted", "The request is valid and kept.", now)
        deployment = Deployment(
            sequence=0,
            task_id=request.task_id,
            uid=uid,
            model_id=request.model_id,
            request=_body(request),
            spec=spec,
            desired=Desired.RUN,
            run_id=model.run_id,
            model_version=model.version,
            status=DeploymentStatus(conditions=(accepted,)),
            created_at=now,
            elastic=elastic,
        )
        self._admit(deployment)
        return deployment

    async def _model(self, request: DeployRequest) -> ModelRef:
        if request.mlflow_run_id is not None:
            return await self._tracking.model_of_run(request.mlflow_run_id)
        assert request.model_name is not None
        return await self._tracking.model_version(request.model_name, alias=request.alias, version=request.version)


def _at_most(spec: ServerSpec, elastic: Elastic | None) -> ServerSpec:
    return replace(spec, replicas=elastic.max_replicas) if elastic else spec


def _same(kept: Deployment, request: DeployRequest) -> Deployment:
    if kept.task_id != request.task_id:
        raise ModelIdTaken(request.model_id, kept.task_id)
    if kept.desired is Desired.STOP:
        raise BeingDeleted(kept.task_id)
    if found := differences(kept.request, _body(request)):
        raise TaskExists(request.task_id, found)
    return kept


def _body(request: DeployRequest) -> dict[str, Any]:
    return request.model_dump(by_alias=True, mode="json")
