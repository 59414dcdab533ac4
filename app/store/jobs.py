"""Training jobs in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from pydantic import TypeAdapter

from app.core.conditions import JobPhase
from app.core.errors import JobNotFound
from app.core.specs import JobSpec
from app.core.tasks import Desired, Job, JobStatus
from app.store.database import Database, whole
from app.store.groups import Group
from app.store.pages import Page, page_query, token_after
from app.store.tables import jobs

_spec = TypeAdapter(JobSpec)
_status = TypeAdapter(JobStatus)
_UNFINISHED = [phase.value for phase in JobPhase if not phase.is_final]
_RECORD = (
    sa.update(jobs)
    .where(jobs.c.sequence == sa.bindparam("job"))
    .values(phase=sa.bindparam("phase"), status=sa.bindparam("status"))
)


class Mark(NamedTuple):
    """A few words on a job, so that a controller can choose which jobs to read."""

    sequence: int
    task_id: str
    uid: str
    desired: Desired


class JobStore:
    """What callers asked for and what controllers saw. The two write different columns, so neither undoes the other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._adds = Group(self._insert)
        self._records = Group(self._update)

    @whole
    async def add(self, job: Job) -> tuple[Job, bool]:
        """Keep `job` if its task id is free. Returns what is kept under that id now, and whether it is this one."""
        sequence = await self._adds(job)
        if sequence is None:
            return await self.get(job.task_id), False
        return replace(job, sequence=sequence), True

    async def _insert(self, group: Sequence[Job]) -> Sequence[int | None]:
        """The sequence of each job that is new."""
        insert = self._database.insert(jobs).on_conflict_do_nothing().returning(jobs.c.uid, jobs.c.sequence)
        async with self._database.begin() as connection:
            rows = await connection.execute(insert, [_values(job) for job in group])
            sequences = {row.uid: row.sequence for row in rows}
        return [sequences.get(job.uid) for job in group]

    @whole
    async def get(self, task_id: str) -> Job:
        """Raises `JobNotFound`."""
        async with self._database.begin() as connection:
            row = (await connection.execute(sa.select(jobs).where(jobs.c.task_id == task_id))).one_or_none()
        if row is None:
            raise JobNotFound(task_id)
        return _job(row)

    @whole
    async def list(
        self, *, size: int, token: str = "", phase: JobPhase | None = None, experiment: str | None = None,
        profile: str | None = None,
    ) -> Page[Job]:  # fmt: skip
        """Newest first. Raises `InvalidParameter` for a token that is not ours."""
        wanted = ((jobs.c.phase, phase and phase.value), (jobs.c.experiment, experiment), (jobs.c.profile, profile))
        query = page_query(jobs, [column == value for column, value in wanted if value is not None], size, token)
        async with self._database.begin() as connection:
            rows = (await connection.execute(query)).all()
        return Page([_job(row) for row in rows[:size]], token_after(rows, size))

    @whole
    async def unfinished(self) -> Sequence[Mark]:
        """All jobs that a controller must still look at, oldest first."""
        columns = (jobs.c.sequence, jobs.c.task_id, jobs.c.uid, jobs.c.desired)
        query = sa.select(*columns).where(jobs.c.phase.in_(_UNFINISHED)).order_by(jobs.c.sequence)
        async with self._database.begin() as connection:
            return [
                Mark(sequence, task_id, uid, Desired(desired))
                for sequence, task_id, uid, desired in await connection.execute(query)
            ]

    @whole
    async def read(self, marks: Sequence[Mark]) -> Sequence[Job]:
        """The jobs behind marks, in their order; one that is gone is left out."""
        query = sa.select(jobs).where(jobs.c.sequence.in_([mark.sequence for mark in marks])).order_by(jobs.c.sequence)
        async with self._database.begin() as connection:
            return [_job(row) for row in await connection.execute(query)]

    @whole
    async def stop(self, task_id: str) -> Job:
        """Ask for the job's end; harmless when repeated. Raises `JobNotFound`."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.update(jobs).where(jobs.c.task_id == task_id).values(desired=Desired.STOP.value)
            )
        return await self.get(task_id)

    @whole
    async def record(self, job: Job, status: JobStatus) -> None:
        """Keep what was seen of `job`."""
        await self._records((job.sequence, status))

    async def _update(self, group: Sequence[tuple[int, JobStatus]]) -> Sequence[None]:
        async with self._database.begin() as connection:
            await connection.execute(
                _RECORD, [{"job": sequence, **_status_values(status)} for sequence, status in group]
            )
        return [None] * len(group)


def _values(job: Job) -> dict[str, Any]:
    return {
        "task_id": job.task_id,
        "uid": job.uid,
        "experiment": job.request["experimentName"],
        "profile": job.request["modelProfile"],
        "request": dict(job.request),
        "spec": _spec.dump_python(job.spec, mode="json"),
        "desired": job.desired.value,
        "created_at": job.created_at,
        **_status_values(job.status),
    }


def _status_values(status: JobStatus) -> dict[str, Any]:
    return {"phase": status.phase.value, "status": _status.dump_python(status, mode="json")}


def _job(row: sa.Row[Any]) -> Job:
    return Job(
        sequence=row.sequence,
        task_id=row.task_id,
        uid=row.uid,
        request=row.request,
        spec=_spec.validate_python(row.spec),
        desired=Desired(row.desired),
        status=_status.validate_python(row.status),
        created_at=row.created_at,
    )
