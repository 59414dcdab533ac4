"""What others do to Jobs: the status says so, nothing is left behind, and nothing is made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.controllers.jobs import JobController
from app.core.conditions import JobPhase
from app.core.specs import JobSpec
from app.core.tasks import Desired, Job, JobStatus
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.manifests import RUN_ID
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.store.database import Database
from app.store.jobs import JobStore
from app.tracking.mlflow import Mlflow
from tests.contracts.runtime_actor import END, WAIT, Act
from tests.contracts.runtime_bodies import exited, gone, job, until
from tests.fakes.mlflow import FakeMlflow

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")


@dataclass
class Office:
    """A store and the controller that acts on it; a test lets it look."""

    store: JobStore
    controller: JobController
    mlflow: FakeMlflow

    async def accept(self, spec: JobSpec) -> None:
        request = {"experimentName": "E", "modelProfile": "p", "hyperparameters": {}}
        await self.store.add(Job(0, spec.name, spec.uid, request, spec, Desired.RUN, JobStatus(), datetime.now(UTC)))

    async def until(self, phase: JobPhase, task_id: str = "train-a") -> JobStatus:
        async def look() -> JobStatus | None:
            await self.controller.round()
            status = (await self.store.get(task_id)).status
            return status if status.phase is phase else None

        return await until(look)


def office_of(database: Database, runtime: KubernetesRuntime) -> Office:
    mlflow = FakeMlflow()
    tracking = Mlflow(httpx2.AsyncClient(transport=mlflow, base_url="http://mlflow"))
    store = JobStore(database)
    return Office(store, JobController(store, runtime, tracking), mlflow)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    await database.migrate()
    yield database
    await database.close()


@pytest.fixture
async def office(database: Database, runtime: KubernetesRuntime) -> Office:
    return office_of(database, runtime)


async def all_of(client: Client, kind: str, group: str = "") -> list[dict[str, Any]]:
    return [item async for page in client.pages(client.path(group, kind), {}) for item in page["items"]]


async def test_a_running_job_that_somebody_deletes_is_lost_and_not_made_again(
    office: Office, runtime: KubernetesRuntime, client: Client
) -> None:
    await office.accept(job(Act(WAIT)))
    await office.until(JobPhase.RUNNING)
    await client.delete(client.path("batch/v1", "jobs", "train-a"), "Background")
    await gone(runtime, "train-a")
    status = await office.until(JobPhase.FAILED)
    assert status.termination is not None and status.termination.reason == "Lost"
    assert "deleted" in status.termination.message
    await office.controller.round()
    assert await all_of(client, "jobs", "batch/v1") == []


async def test_a_job_that_ended_and_is_deleted_afterwards_keeps_its_status(
    office: Office, runtime: KubernetesRuntime, client: Client
) -> None:
    await office.accept(job(Act(END)))
    before = await office.until(JobPhase.SUCCEEDED)
    await client.delete(client.path("batch/v1", "jobs", "train-a"), "Background")
    await gone(runtime, "train-a")
    await office.controller.round()
    assert (await office.store.get("train-a")).status == before
    assert await all_of(client, "jobs", "batch/v1") == []


async def test_a_job_that_ended_is_removed_at_its_age_and_keeps_its_status(
    database: Database, settings: KubernetesSettings, client: Client
) -> None:
    runtime = KubernetesRuntime(replace(settings, job_ttl=3))
    await runtime.start()
    try:
        office = office_of(database, runtime)
        await office.accept(job(Act(END)))
        before = await office.until(JobPhase.SUCCEEDED)
        await gone(runtime, "train-a")
        await office.controller.round()
        assert (await office.store.get("train-a")).status == before
        assert await all_of(client, "jobs", "batch/v1") == await all_of(client, "pods") == []
    finally:
        await runtime.close()


async def test_the_run_in_mlflow_is_noted_on_the_job(
    office: Office, runtime: KubernetesRuntime, client: Client
) -> None:
    await office.accept(job(Act(WAIT)))
    await office.until(JobPhase.RUNNING)
    office.mlflow.log("run-1", job_uid="u1", experiment="E")

    async def noted() -> bool:
        await office.controller.round()
        found = await client.get(client.path("batch/v1", "jobs", "train-a"))
        return found["metadata"]["annotations"].get(RUN_ID) == "run-1"

    await until(noted)


async def test_what_earlier_runs_left_goes_with_the_job(runtime: KubernetesRuntime, client: Client) -> None:
    spec = job(Act(END, exit_code=1, reason="Interrupted", message="A checkpoint was left."))
    await runtime.apply(spec)
    assert (await exited(runtime)).reason == "Interrupted"
    await runtime.apply(spec)
    assert (await exited(runtime)).reason == "Interrupted"
    path = client.path("batch/v1", "jobs", "train-a")
    owner = (await client.get(path))["metadata"]["uid"]

    async def owners() -> bool:
        found = [pod["metadata"].get("ownerReferences", []) for pod in await all_of(client, "pods")]
        return [[one["uid"] for one in owners] for owners in found] == [[owner], [owner]]

    await until(owners)
    await client.delete(path, "Background")

    async def nothing_left() -> bool:
        return await all_of(client, "pods") == []

    await until(nothing_left)
    with pytest.raises(Absent):
        await client.get(path)
