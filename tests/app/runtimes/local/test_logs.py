"""Logs by bytes, lines and time, and what ten thousand finished jobs cost."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.errors import LogNotFound
from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.local.attempt import Attempt, Life, Slot
from app.runtimes.local.logs import BLOCK, offset_of, read_chunk
from app.runtimes.local.termination import never_ran, termination_of
from app.runtimes.local.wishes import JOB, Key, Wishes
from tests.app.runtimes.local.workshop import Workshop, ended, job_when, says


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path)


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("width", [1, 80, BLOCK - 1, BLOCK, BLOCK + 7])
def test_the_last_lines_are_found_over_blocks(slot: Slot, width: int, end: bytes) -> None:
    lines = [bytes([65 + number]) * width for number in range(4)]
    slot.log.write_bytes(b"\n".join(lines) + end)
    for count in range(1, 4):
        rest = slot.log.read_bytes()[offset_of("x", slot, count, None) :]
        assert rest == b"\n".join(lines[-count:]) + end
    assert offset_of("x", slot, 4, None) == offset_of("x", slot, 100, None) == 0


def test_an_empty_log_has_an_offset_and_a_missing_one_has_none(slot: Slot) -> None:
    with pytest.raises(LogNotFound):
        offset_of("x", slot, None, None)
    slot.log.touch()
    assert offset_of("x", slot, 5, datetime.now(UTC)) == 0
    assert read_chunk("x", slot.log, 0, 10, lambda: True).finished


def test_since_finds_the_line_that_was_written_then(slot: Slot) -> None:
    slot.log.write_bytes(b"first\nsecond\nthird\n")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    samples = [(0, 0), (10, 6), (20, 9), (30, 19)]  # at 20 s the second line was half written
    slot.log_index.write_bytes(b"".join(_sample(start + timedelta(seconds=at), size) for at, size in samples))
    for seconds, offset in ((-5, 0), (5, 0), (10, 6), (15, 6), (20, 6), (25, 6), (30, 19), (99, 19)):
        assert offset_of("x", slot, None, start + timedelta(seconds=seconds)) == offset, seconds
    assert offset_of("x", slot, 1, start) == 13


def _sample(at: datetime, size: int) -> bytes:
    return int(at.timestamp() * 1000).to_bytes(8, "big") + size.to_bytes(8, "big")


async def test_the_witness_samples_how_the_log_grows(workshop: Workshop) -> None:
    source = "import time\nprint('early', flush=True)\ntime.sleep(1.5)\nprint('late', flush=True)"
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.job("writer", source))
        await says(runtime, "writer", "early")
        middle = datetime.now(UTC) + timedelta(seconds=1.2)
        await ended(runtime, "writer")
        offset = await runtime.log_offset("writer", since=middle)
        assert (await runtime.read_log("writer", offset=offset)).content == b"late\n"


async def test_a_full_index_or_none_costs_no_job(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.job("bare", "print('words')"))
        await ended(runtime, "bare")
        (workshop.slot("bare") / "log.index").unlink()
        assert await runtime.log_offset("bare", since=datetime.now(UTC)) == 0


async def test_ten_thousand_finished_jobs_are_not_looked_at(workshop: Workshop) -> None:
    wishes = Wishes(workshop.home)
    wishes.open()
    spec = workshop.job("job-0", "pass")
    wishes.apply(spec)
    done = JobObservation("job-0", spec.uid, ProcessState.EXITED, termination=never_ran("Completed", "It is done."))
    wishes.publish(Key(JOB, "job-0"), 1, done, durable=True)
    wishes.settle(Key(JOB, "job-0"), 1)
    for number in range(1, 10_000):
        os.symlink("job-0", workshop.home / "jobs" / f"job-{number}")
    assert wishes.active() == []
    async with workshop.runtime() as runtime:
        seen = await runtime.observe_jobs(["job-9999"])
        assert seen["job-9999"].termination == done.termination
        await runtime.apply(replace(spec, name="job-new"))
        await job_when(runtime, "job-new", lambda seen: seen.state is ProcessState.EXITED)
        assert os.listdir(workshop.home / "active") == []


def test_memory_is_blamed_only_on_evidence(slot: Slot) -> None:
    attempt = Attempt(slot, 1, slot.folder)
    attempt.life = Life.ENDED
    for oom, reason in ((True, "OOMKilled"), (False, "Crashed")):
        attempt.end = {"exit_code": None, "signal": "SIGKILL", "asked": False, "sent": [], "oom": oom, "at": 0.0}
        assert termination_of(attempt, stop_wished=False).reason == reason
    attempt.end = {"exit_code": 1, "signal": None, "asked": False, "sent": [], "oom": True, "at": 0.0}
    assert termination_of(attempt, stop_wished=False).reason == "Crashed"
