"""Jobs that wait cost a round next to nothing, and miss nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from app.controllers.jobs import JobController
from app.controllers.loop import for_each
from app.core.conditions import JobPhase
from app.core.errors import RuntimeUnavailable
from app.core.specs import JobSpec, ServerSpec
from app.core.tasks import Job
from app.runtimes.base import JobObservation
from app.store.database import Database
from app.store.jobs import JobStore, Mark
from app.tracking.mlflow import Mlflow
from tests.app.store.test_jobs import SPEC, job
from tests.fakes.mlflow import FakeMlflow
from tests.fakes.runtime import FakeRuntime


class CountingStore(JobStore):
    """Knows which jobs were read as a whole."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.was_read: list[str] = []

    async def read(self, marks: Sequence[Mark]) -> Sequence[Job]:
        self.was_read += [mark.task_id for mark in marks]
        return await super().read(marks)


class PickyRuntime(FakeRuntime):
    """Launches none of the first 120."""

    async def apply(self, spec: JobSpec | ServerSpec) -> None:
        if int(spec.name.rsplit("-", 1)[1]) < 120:
            raise RuntimeUnavailable("not that one")
        await super().apply(spec)


class ForgetfulRuntime(FakeRuntime):
    """Sees nothing of what is there, while it is forgetful."""

    is_forgetful = False

    async def observe_jobs(self, names: Collection[str]) -> Mapping[str, JobObservation]:
        return {} if self.is_forgetful else await super().observe_jobs(names)

    async def exists(self, name: str) -> bool:
        return name in await super().observe_jobs([name])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    await database.migrate()
    yield CountingStore(database)
    await database.close()


def controller(store: JobStore, runtime: FakeRuntime) -> JobController:
    return JobController(store, runtime, Mlflow(httpx2.AsyncClient(transport=FakeMlflow(), base_url="http://mlflow")))


async def test_a_job_that_waits_is_read_again_only_when_something_changed(store: CountingStore) -> None:
    runtime = FakeRuntime(gpus=0)
    control = controller(store, runtime)
    await store.add(job())  # it asks for three GPUs
    await control.round()  # launches
    await control.round()  # records that it waits
    assert (await store.get("a")).status.conditions[-1].reason == "Unschedulable"
    store.was_read.clear()
    for _ in range(5):
        await control.round()
    assert store.was_read == []
    runtime.gpus = 3
    await control.round()
    assert (await store.get("a")).status.phase is JobPhase.RUNNING


async def test_a_job_that_waits_is_stopped(store: CountingStore) -> None:
    control = controller(store, FakeRuntime(gpus=0))
    await store.add(job())
    for _ in range(3):
        await control.round()
    await store.stop("a")
    for _ in range(2):
        await control.round()
    assert (await store.get("a")).status.phase is JobPhase.CANCELLED


async def test_hundreds_of_jobs_are_launched_oldest_first(store: CountingStore) -> None:
    runtime = FakeRuntime(gpus=10_000)
    for number in range(250):
        spec = replace(SPEC, name=f"train-t-{number}", task_id=f"t-{number}", uid=f"u-{number}")
        await store.add(replace(job(f"t-{number}", f"u-{number}"), spec=spec))
    control = controller(store, runtime)
    for _ in range(3):  # a few at a time, so that what runs is looked at in between
        await control.round()
    assert runtime.launched == [f"train-t-{number}" for number in range(250)]


async def test_jobs_that_cannot_be_launched_keep_no_other_from_its_turn(store: CountingStore) -> None:
    runtime = PickyRuntime(gpus=10_000)
    for number in range(150):
        spec = replace(SPEC, name=f"train-t-{number}", task_id=f"t-{number}", uid=f"u-{number}")
        await store.add(replace(job(f"t-{number}", f"u-{number}"), spec=spec))
    control = controller(store, runtime)
    for _ in range(2):
        with contextlib.suppress(RuntimeUnavailable):
            await control.round()
    assert runtime.launched == [f"train-t-{number}" for number in range(120, 150)]


async def test_one_failure_keeps_no_other_from_its_turn_and_is_raised_at_the_end() -> None:
    done = []

    async def act(number: int) -> None:
        if number == 2:
            raise ValueError("two")
        done.append(number)

    with pytest.raises(ValueError, match="two"):
        await for_each(range(9), act, at_once=4)
    assert sorted(done) == [0, 1, 3, 4, 5, 6, 7, 8]


async def test_a_job_that_is_deleted_while_it_waits_is_not_made_again(store: CountingStore) -> None:
    runtime = FakeRuntime(gpus=0)
    control = controller(store, runtime)
    await store.add(job())
    await control.round()
    await control.round()
    await runtime.delete((await store.get("a")).spec.name)
    await control.round()
    assert [one.reason for one in (await store.get("a")).status.conditions if one.type == "Failed"] == ["Lost"]
    assert not await runtime.observe_jobs([(await store.get("a")).spec.name])


async def test_a_job_that_is_out_of_sight_for_a_moment_is_neither_lost_nor_made_again(store: CountingStore) -> None:
    runtime = ForgetfulRuntime(gpus=3)
    control = controller(store, runtime)
    await store.add(job())
    await control.round()
    await control.round()
    before = (await store.get("a")).status
    assert before.phase is JobPhase.RUNNING
    runtime.is_forgetful = True
    for _ in range(3):
        await control.round()
    assert (await store.get("a")).status == before
    runtime.is_forgetful = False
    runtime.ends((await store.get("a")).spec.name, 0)
    await control.round()
    assert (await store.get("a")).status.phase is JobPhase.SUCCEEDED
