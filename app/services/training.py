"""Training jobs: submit, list, look, stop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from app.core.conditions import Condition, JobPhase, Status
from app.core.errors import JobNotFound, Outage, Refusal, TaskExists
from app.core.tasks import Desired, Job, JobStatus
from app.runtimes.base import Runtime
from app.schemas.training import TrainRequest
from app.services.planning import Planner
from app.services.sameness import differences
from app.store.jobs import JobStore
from app.store.pages import Page


class TrainingService:
    """`nudge` wakes the controller that launches what was submitted here; nothing is launched by this service."""

    def __init__(self, store: JobStore, runtime: Runtime, planner: Planner, nudge: Callable[[], None]) -> None:
        self._store = store
        self._runtime = runtime
        self._planner = planner
        self._nudge = nudge

    async def submit(self, request: TrainRequest) -> tuple[Job, bool]:
        """The job of this task id, and whether it is new. Equal bodies make one job, also when sent at once.

        Raises `TaskExists` if the id is taken by another body, and what planning and the runtime refuse.
        """
        try:
            planned = self._job(request)
        except (Refusal, Outage) as refusal:  # what was accepted once is answered so again, whatever has changed since
            try:
                return _same(await self._store.get(request.task_id), request), False
            except JobNotFound:
                raise refusal from None
        job, is_new = await self._store.add(planned)
        self._nudge()
        return (job, True) if is_new else (_same(job, request), False)

    def dry_run(self, request: TrainRequest) -> Mapping[str, object]:
        """What `submit` would launch, after all its checks; launches and keeps nothing."""
        return self._runtime.render(self._job(request).spec)

    async def get(self, task_id: str) -> Job:
        return await self._store.get(task_id)

    async def wait_until_final(self, task_id: str) -> Job:
        """The job once its end is recorded; as it stands if that takes more than 45 s."""
        patience = asyncio.get_running_loop().time() + 45
        job = await self._store.get(task_id)
        while not job.status.phase.is_final and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(0.1)
            job = await self._store.get(task_id)
        return job

    async def list(
        self, *, size: int, token: str, phase: JobPhase | None, experiment: str | None, profile: str | None
    ) -> Page[Job]:
        return await self._store.list(size=size, token=token, phase=phase, experiment=experiment, profile=profile)

    async def stop(self, task_id: str) -> Job:
        """Ask for the job's end. Harmless when repeated, and for a job that has ended."""
        job = await self._store.stop(task_id)
        self._nudge()
        return job

    def _job(self, request: TrainRequest) -> Job:
        uid, now = str(uuid.uuid4()), datetime.now(UTC)
        spec = self._planner.job(request, uid)
        self._runtime.admit(spec)
        accepted = Condition("Accepted", Status.TRUE, "Accepted", "The request is valid and kept.", now)
        return Job(
            sequence=0,
            task_id=request.task_id,
            uid=uid,
            request=_body(request),
            spec=spec,
            desired=Desired.RUN,
            status=JobStatus(conditions=(accepted,)),
            created_at=now,
        )


def _same(kept: Job, request: TrainRequest) -> Job:
    if found := differences(kept.request, _body(request)):
        raise TaskExists(request.task_id, found)
    return kept


def _body(request: TrainRequest) -> dict[str, Any]:
    return request.model_dump(by_alias=True, mode="json")
