"""Group commit: who waits together shares a transaction, each is answered after its own, and failures stay apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import exc

from app.core.errors import StoreUnavailable
from app.store.database import Database
from app.store.groups import Group
from app.store.jobs import JobStore
from tests.app.store.test_jobs import job


class Disk:
    """Commits when it is told to, keeps what was committed, and refuses a `poisonous` item with all that come along."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.kept: list[str] = []
        self.failure: Exception | None = None
        self.may_commit = asyncio.Event()

    async def write(self, group: Sequence[str]) -> Sequence[str]:
        self.groups.append(list(group))
        await self.may_commit.wait()
        if self.failure is not None:
            raise self.failure
        if "poisonous" in group:
            raise StoreUnavailable("refused") from exc.DBAPIError("INSERT", {}, Exception("bad bytes"))
        self.kept += group
        return [item.upper() for item in group]


async def _begun(disk: Disk, *items: str) -> list[asyncio.Task[str]]:
    """One caller waits for the disk; the others come meanwhile."""
    group = Group(disk.write)
    callers = [asyncio.create_task(group(item)) for item in items]
    for _ in range(10):
        await asyncio.sleep(0)
    return callers


async def test_those_who_wait_together_share_a_transaction() -> None:
    disk = Disk()
    disk.may_commit.set()
    group = Group(disk.write)
    first = asyncio.create_task(group("a"))
    await first
    assert await asyncio.gather(*(group(item) for item in "bcd")) == ["B", "C", "D"]
    assert disk.groups == [["a"], ["b", "c", "d"]]


async def test_nobody_is_answered_before_the_commit() -> None:
    disk = Disk()
    callers = await _begun(disk, "a", "b")
    assert not any(caller.done() for caller in callers)
    disk.may_commit.set()
    assert await asyncio.gather(*callers) == ["A", "B"]
    assert disk.kept == ["a", "b"]


async def test_who_comes_while_a_group_is_written_is_in_the_next() -> None:
    disk = Disk()
    group = Group(disk.write)
    early = asyncio.create_task(group("early"))
    while not disk.groups:  # noqa: ASYNC110
        await asyncio.sleep(0)
    late = [asyncio.create_task(group(item)) for item in ("late", "later")]
    disk.may_commit.set()
    assert await asyncio.gather(early, *late) == ["EARLY", "LATE", "LATER"]
    assert disk.groups == [["early"], ["late", "later"]]


async def test_one_that_is_refused_fails_alone() -> None:
    disk = Disk()
    callers = await _begun(disk, "a", "poisonous", "b")
    disk.may_commit.set()
    first, refused, last = await asyncio.gather(*callers, return_exceptions=True)
    assert (first, last, disk.kept) == ("A", "B", ["a", "b"])
    assert isinstance(refused, StoreUnavailable)


async def test_a_database_that_is_away_is_asked_once_for_all() -> None:
    disk = Disk()
    disk.failure = StoreUnavailable("away")
    disk.failure.__cause__ = exc.OperationalError("INSERT", {}, Exception("connection refused"))
    callers = await _begun(disk, "a", "b", "c")
    disk.may_commit.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    assert disk.groups == [["a", "b", "c"]]


async def test_a_job_that_the_database_cannot_keep_fails_alone(database: Database, url: str) -> None:
    """PostgreSQL keeps no NUL in a text; SQLite does."""
    store = JobStore(database)
    jobs = [job(f"t-{number}", f"u-{number}") for number in range(9)]
    jobs[4] = replace(jobs[4], request=jobs[4].request | {"experimentName": "a\0b"})  # type: ignore[operator]
    outcomes = await asyncio.gather(*(store.add(one) for one in jobs), return_exceptions=True)
    bad = outcomes.pop(4)
    assert isinstance(bad, StoreUnavailable) is url.startswith("postgresql")
    assert all(isinstance(outcome, tuple) and outcome[1] for outcome in outcomes)


async def test_pages_of_jobs_that_came_at_once_leave_none_out_and_repeat_none(database: Database) -> None:
    store = JobStore(database)
    added = await asyncio.gather(*(store.add(job(f"t-{number}", f"u-{number}")) for number in range(40)))
    found, token = [], ""
    while True:
        page = await store.list(size=7, token=token)
        found += page.items
        token = page.next_token
        if not token:
            break
    sequences = [one.sequence for one in found]
    assert sequences == sorted(sequences, reverse=True)
    assert {one.uid: one.sequence for one in found} == {one.uid: one.sequence for one, _ in added}
    assert [one.task_id for one in reversed(found)] == [f"t-{number}" for number in range(40)]


@pytest.mark.parametrize("count", [2, 30])
async def test_equal_and_other_jobs_at_once_are_told_apart(database: Database, count: int) -> None:
    store = JobStore(database)
    added = await asyncio.gather(*(store.add(job(f"t-{number // 2}", f"u-{number}")) for number in range(count)))
    assert sum(is_new for _, is_new in added) == count / 2
    assert all(kept.task_id == f"t-{number // 2}" for number, (kept, _) in enumerate(added))
