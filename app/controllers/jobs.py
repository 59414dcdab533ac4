"""The controller of training jobs: launches what was accepted, stops what was cancelled, records what was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Literal

import structlog

from app.controllers.job_status import ended, never_launched, seen, vanished
from app.controllers.loop import for_each
from app.core.conditions import JobPhase, TerminationReason, find
from app.core.errors import Refusal, TrackingUnavailable
from app.core.names import job_name
from app.core.tasks import Desired, Job, JobStatus
from app.runtimes.base import JobObservation, ProcessState, Runtime
from app.store.jobs import JobStore, Mark
from app.tracking.mlflow import Mlflow, RunProgress

log = structlog.get_logger(__name__)

_MLFLOW_PATIENCE_SECONDS = 2  # a tracking server that hangs must not hold up launching and stopping
_AT_ONCE = 32  # launches
_SLICE = 50  # jobs that are read at once
_TURN = 100  # launches of a round
_PAUSE_SECONDS = 3  # less than a lease takes to change hands
_LAST_LOOK = timedelta(seconds=30)  # how long an ended job waits for an MLflow that is away


_RUN_ENDS: dict[JobPhase, Literal["FAILED", "KILLED"]] = {JobPhase.FAILED: "FAILED", JobPhase.CANCELLED: "KILLED"}


class Away(Enum):
    """MLflow cannot say now."""

    AWAY = "away"


AWAY = Away.AWAY


class JobController:
    def __init__(self, store: JobStore, runtime: Runtime, tracking: Mlflow) -> None:
        self._store = store
        self._runtime = runtime
        self._tracking = tracking
        # What was last seen, and recorded, of jobs that wait: until something changes they cost nothing.
        self._at_rest: dict[str, JobObservation] = {}
        self._ended = 0.0  # when the last round did
        self._had_its_turn = 0  # the sequence of the last launch

    async def round(self) -> None:
        """Compare every unfinished job with what the runtime knows, and act on the difference."""
        marks = await self._store.unfinished()
        observed = await self._runtime.observe_jobs([job_name(mark.task_id) for mark in marks])
        self._forget(marks)
        new: list[Mark] = []
        changed: list[Mark] = []
        begun: list[Mark] = []
        for mark in marks:
            found = observed.get(job_name(mark.task_id))
            if found is None:
                new.append(mark)
            elif _has_begun(found):
                begun.append(mark)
            elif mark.desired is Desired.STOP or self._at_rest.get(mark.uid) != found:
                changed.append(mark)
        try:  # MLflow is asked after what waits was launched
            await for_each([*_slices(changed), *_slices(self._turn(new)), *_slices(begun)], self._look_at)
        finally:
            self._ended = time.monotonic()

    def _forget(self, marks: Sequence[Mark]) -> None:
        """What is finished; and all after a pause, as another gateway's controllers may have acted in it."""
        if time.monotonic() - self._ended > _PAUSE_SECONDS:
            self._at_rest = {}
        self._at_rest = {mark.uid: self._at_rest[mark.uid] for mark in marks if mark.uid in self._at_rest}

    def _turn(self, new: Sequence[Mark]) -> Sequence[Mark]:
        """The next launches: so few that thousands hold up nothing else, and each has its turn though others fail."""
        turn = ([mark for mark in new if mark.sequence > self._had_its_turn] or new)[:_TURN]
        self._had_its_turn = turn[-1].sequence if turn else 0
        return turn

    async def _look_at(self, marks: Sequence[Mark]) -> None:
        """What was observed must be newer than what is read: a job that others launched meanwhile is not lost."""
        jobs = await self._store.read(marks)
        observed = await self._runtime.observe_jobs([job.spec.name for job in jobs])
        progress = await asyncio.gather(*(self._progress_of(job, observed.get(job.spec.name)) for job in jobs))
        pairs = zip(jobs, progress, strict=True)
        await for_each(pairs, lambda pair: self._reconcile(pair[0], observed.get(pair[0].spec.name), pair[1]), _AT_ONCE)

    async def _reconcile(self, job: Job, found: JobObservation | None, progress: RunProgress | Away | None) -> None:
        now = datetime.now(UTC)
        if progress is AWAY and _ended_lately(found, now):
            return  # the last metrics and the run id are worth a short wait
        if found is None:
            status = await self._launch(job, now)
        elif found.state is ProcessState.EXITED:
            status = await self._close(job, found, now)
        else:
            if job.desired is Desired.STOP and found.state is not ProcessState.STOPPING:
                await self._runtime.stop(found.name)
            status = seen(job.status, found, now)
        if isinstance(progress, RunProgress):
            status = replace(
                status,
                run_id=progress.run_id,
                progress=progress.percent if progress.percent is not None else status.progress,
                metrics=progress.metrics,
            )
        if status.run_id is not None and status.run_id != job.status.run_id:
            await self._runtime.note_run(job.spec.name, status.run_id)
        if status.phase in _RUN_ENDS and status.run_id is not None and found is not None:
            await self._close_run(status.run_id, _RUN_ENDS[status.phase])
        if status != job.status:
            await self._store.record(job, status)
            _log_change(job, status)
        if found is not None and not _has_begun(found):
            self._at_rest[job.uid] = found

    async def _launch(self, job: Job, now: datetime) -> JobStatus:
        """The runtime knows nothing of it: it was never launched, or what was launched is gone."""
        was_seen = find(job.status.conditions, "Scheduled") is not None
        if job.desired is Desired.STOP or was_seen:
            if was_seen and await self._runtime.exists(job.spec.name):
                return job.status  # another gateway's, which this one has not heard of yet
            return vanished(job.status, job.desired, now)
        try:
            await self._runtime.apply(job.spec)
        except Refusal as refusal:
            return never_launched(job.status, refusal, now)
        return job.status

    async def _close(self, job: Job, found: JobObservation, now: datetime) -> JobStatus:
        """It ended. One that was interrupted, not cancelled, goes on from its checkpoint."""
        assert found.termination is not None
        if found.termination.reason == TerminationReason.INTERRUPTED and job.desired is Desired.RUN:
            await self._runtime.apply(job.spec)
            return job.status
        return ended(job.status, found, job.desired, now)

    async def _close_run(self, run_id: str, end: Literal["FAILED", "KILLED"]) -> None:
        """A trainer that was killed leaves its run open; MLflow's page should not show it as running for ever."""
        try:
            async with asyncio.timeout(_MLFLOW_PATIENCE_SECONDS):
                await self._tracking.close_run(run_id, end)
        except (TrackingUnavailable, TimeoutError) as outage:
            log.warning("run_left_open", run_id=run_id, cause=str(outage))

    async def _progress_of(self, job: Job, found: JobObservation | None) -> RunProgress | Away | None:
        """How far the job's run is; None if it has opened none."""
        if not _has_begun(found):
            return None
        try:
            async with asyncio.timeout(_MLFLOW_PATIENCE_SECONDS):
                if job.status.run_id is not None:
                    return await self._tracking.progress(job.status.run_id)
                return await self._tracking.find_run(job.request["experimentName"], job.uid)
        except (TrackingUnavailable, TimeoutError) as outage:
            log.debug("progress_unknown", task_id=job.task_id, cause=str(outage))
            return AWAY


def _slices(marks: Sequence[Mark]) -> Iterator[Sequence[Mark]]:
    """So few that reading them holds up nobody."""
    for start in range(0, len(marks), _SLICE):
        yield marks[start : start + _SLICE]


def _has_begun(found: JobObservation | None) -> bool:
    return found is not None and found.state not in (ProcessState.WAITING, ProcessState.STARTING)


def _ended_lately(found: JobObservation | None, now: datetime) -> bool:
    return found is not None and found.termination is not None and now - found.termination.finished_at < _LAST_LOOK


def _log_change(job: Job, status: JobStatus) -> None:
    if status.phase is not job.status.phase:
        log.info("job_changed", task_id=job.task_id, before=job.status.phase, now=status.phase)
