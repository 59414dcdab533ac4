"""Jobs in the database: kept once, found again, and written by callers and controllers without undoing each other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.conditions import Condition, JobPhase, Status, Termination
from app.core.errors import JobNotFound
from app.core.specs import JobSpec, Program, Resources
from app.core.tasks import Desired, Job, JobStatus
from app.store.database import Database
from app.store.jobs import JobStore

NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
SPEC = JobSpec("train-a", "a", "u", Program("trainer", {"A": "ü"}, "i"), Resources(1, 2, 3), timedelta(minutes=5))


def job(task_id: str = "a", uid: str = "u-1") -> Job:
    request = {"experimentName": "E", "modelProfile": "p", "hyperparameters": {"x": 0.1}}
    return Job(0, task_id, uid, request, SPEC, Desired.RUN, JobStatus(), NOW)


STATUS = JobStatus(
    conditions=(Condition("Failed", Status.TRUE, "Crashed", "It crashed.", NOW),),
    phase=JobPhase.FAILED,
    progress=12.5,
    metrics={"loss": 0.25},
    run_id="r",
    termination=Termination("Crashed", None, "SIGKILL", "It crashed.", NOW),
    notes=("n",),
    started_at=NOW,
    ended_at=NOW,
)


async def test_what_is_kept_is_read_back_equal(database: Database) -> None:
    store = JobStore(database)
    kept, is_new = await store.add(replace(job(), status=STATUS))
    assert is_new
    assert await store.get("a") == kept == replace(job(), sequence=kept.sequence, status=STATUS)


async def test_one_of_many_at_once_is_kept(database: Database) -> None:
    store = JobStore(database)
    added = await asyncio.gather(*(store.add(job(uid=f"u-{number}")) for number in range(8)))
    assert sum(is_new for _, is_new in added) == 1
    assert len({kept.uid for kept, _ in added}) == 1


async def test_a_stop_and_what_was_seen_do_not_undo_each_other(database: Database) -> None:
    store = JobStore(database)
    kept, _ = await store.add(job())
    await asyncio.gather(store.stop("a"), store.record(kept, replace(STATUS, phase=JobPhase.RUNNING)))
    found = await store.get("a")
    assert (found.desired, found.status.phase) == (Desired.STOP, JobPhase.RUNNING)


async def test_only_unfinished_jobs_are_looked_at(database: Database) -> None:
    store = JobStore(database)
    for number, phase in enumerate(JobPhase):
        await store.add(replace(job(f"t-{number}", f"u-{number}"), status=replace(STATUS, phase=phase)))
    phases = [found.status.phase for found in await store.read(await store.unfinished())]
    assert phases == [JobPhase.QUEUED, JobPhase.STARTING, JobPhase.RUNNING]


async def test_a_cancelled_caller_leaves_no_half_done_write(database: Database) -> None:
    store = JobStore(database)
    for number in range(20):
        task = asyncio.create_task(store.add(job(f"t-{number}", f"u-{number}")))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(5):
        await store.add(job("last"))


async def test_an_unknown_job_is_not_found(database: Database) -> None:
    for ask in (JobStore(database).get, JobStore(database).stop):
        with pytest.raises(JobNotFound):
            await ask("nobody")
