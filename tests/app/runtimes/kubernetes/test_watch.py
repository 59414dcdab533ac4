"""A watch keeps what is so, however rude the API is, and never asks in a hurry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from app.core.errors import InvalidRequest, RuntimeUnavailable
from app.runtimes.kubernetes.client import Absent, Client, Expired, Taken
from app.runtimes.kubernetes.watch import Watch, version_of
from tests.app.runtimes.kubernetes.rude_cluster import PATH, RudeCluster, closes, item, served, stays, tells


@dataclass(frozen=True)
class Seen:
    name: str
    version: int


def keep(found: dict[str, Any], old: Seen | None) -> Seen:
    return Seen(found["metadata"]["name"], version_of(found))


def event(type_: str, name: str, version: int) -> dict[str, Any]:
    return {"type": type_, "object": item(name, version)}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


@asynccontextmanager
async def watching(cluster: RudeCluster) -> AsyncIterator[Watch[Seen]]:
    async with served(cluster) as client:
        watch = Watch(client, PATH, {}, keep, lambda *_: None)
        task = asyncio.create_task(watch.run())
        yield watch
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if so():
                return
            await asyncio.sleep(0.01)


def known(watch: Watch[Seen]) -> dict[str, int]:
    return {name: seen.version for name, seen in watch.known.items()}


async def test_a_list_of_many_pages_is_whole_and_events_change_it() -> None:
    cluster = RudeCluster()
    cluster.items, cluster.version = [item(f"p{n}", n) for n in range(1, 6)], 5
    cluster.watches = [tells(event("DELETED", "p1", 6), event("ADDED", "p9", 7), event("MODIFIED", "p2", 8)), stays]
    async with watching(cluster) as watch:
        await until(lambda: known(watch) == {"p2": 8, "p3": 3, "p4": 4, "p5": 5, "p9": 7})
        await until(lambda: cluster.watched_from == ["5", "8"])
    assert cluster.lists == 1


async def test_a_watch_that_closes_at_once_is_taken_up_again_without_a_list_and_without_haste() -> None:
    cluster = RudeCluster()
    cluster.watches = [closes]
    async with watching(cluster):
        await until(lambda: len(cluster.watched_from) >= 3)
        seen = len(cluster.watched_from)
        await asyncio.sleep(0.5)  # the time in which a hasty one asks a thousand times
        assert len(cluster.watched_from) - seen <= 3
    assert cluster.lists == 1


async def test_a_version_that_is_too_old_brings_a_new_list() -> None:
    cluster = RudeCluster()
    cluster.items, cluster.version = [item("old", 1)], 1

    async def moves_on(response: Any) -> None:
        cluster.items, cluster.version = [item("new", 9)], 9
        await tells(GONE)(response)

    cluster.watches = [moves_on, stays]
    async with watching(cluster) as watch:
        await until(lambda: known(watch) == {"new": 9})
        await until(lambda: cluster.watched_from == ["1", "9"])


async def test_what_was_known_stays_known_while_the_api_is_away_and_is_renewed_afterwards() -> None:
    cluster = RudeCluster()
    cluster.items, cluster.watches = [item("one", 1)], [closes]
    async with watching(cluster) as watch:
        await watch.synced.wait()
        cluster.fails_with = 503
        await until(lambda: watch.trouble != "")
        assert known(watch) == {"one": 1}
        cluster.items, cluster.version, cluster.fails_with = [item("two", 2)], 2, None
        await until(lambda: known(watch) == {"two": 2} and watch.trouble == "")


async def test_what_may_not_be_seen_is_known_to_be_so() -> None:
    cluster = RudeCluster()
    cluster.fails_with = 403
    async with watching(cluster) as watch:
        await watch.tried.wait()
        assert not watch.synced.is_set() and "403" in watch.trouble


async def test_a_write_of_ours_is_seen_at_once_and_an_older_event_does_not_undo_it() -> None:
    cluster = RudeCluster()
    cluster.items, cluster.version = [item("a", 3)], 3
    told = asyncio.Event()

    async def late(response: Any) -> None:
        await told.wait()
        await tells(event("DELETED", "a", 4), event("ADDED", "b", 6))(response)
        await stays(response)

    cluster.watches = [late]
    async with watching(cluster) as watch:
        await watch.synced.wait()
        watch.put(item("a", 5))
        watch.put(item("ghost", 2))
        told.set()
        await until(lambda: "b" in watch.known)
        assert known(watch) == {"a": 5, "b": 6}


async def _list(client: Client) -> None:
    async for _ in client.pages(PATH, {}):
        pass


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, Absent), (409, Taken), (410, Expired), (422, InvalidRequest), (403, RuntimeUnavailable),
     (429, RuntimeUnavailable), (500, RuntimeUnavailable), (503, RuntimeUnavailable)],
)  # fmt: skip
async def test_an_error_of_the_api_has_one_meaning(status: int, error: type[Exception]) -> None:
    cluster = RudeCluster()
    cluster.fails_with = status
    async with served(cluster) as client:
        with pytest.raises(error, match="it is broken"):
            await _list(client)


async def test_an_api_that_is_not_there_is_an_outage() -> None:
    cluster = RudeCluster()
    async with served(cluster) as client:
        await cluster.leave()
        with pytest.raises(RuntimeUnavailable):
            await client.get(PATH)


UNREADABLE = b"unable to retrieve container logs for containerd://52232f06d3028"


async def test_a_node_that_cannot_read_a_log_is_no_log() -> None:
    cluster = RudeCluster()
    async with served(cluster) as client:
        cluster.logs = [UNREADABLE, b"run 1\n"]
        assert await client.log("p", "main") == b"run 1\n"
        cluster.logs = [UNREADABLE]
        with pytest.raises(RuntimeUnavailable):
            await client.log("p", "main")
