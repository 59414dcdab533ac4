"""How far a server's pod is on its way to being ready, and from when on it gets predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from app.core.addresses import Address
from app.core.scaling import StartPhase
from app.runtimes.base import ProcessState, ReplicaObservation
from app.runtimes.kubernetes import records, servers
from app.runtimes.kubernetes.asking import Asker, Words, pull_seconds
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import DIGEST, HEALTH_PATH, UID
from app.runtimes.kubernetes.reach import ByPod
from app.runtimes.kubernetes.records import PodRecord, ServerRecord
from app.runtimes.kubernetes.shortage import Room

AT = "2026-11-01T10:00:00Z"
BEGUN = datetime(2026, 11, 1, 10, 0, tzinfo=UTC)
SERVER = ServerRecord("s", 1, "o", "u", 1, False, "d", 0, False, "")


def pod(state: dict[str, Any] | None = None, node: str = "n", ready: bool = False) -> PodRecord:
    notes = {UID: "u", HEALTH_PATH: "/health/ready", DIGEST: "d"}
    metadata = {"name": "p", "uid": "p", "resourceVersion": "1", "creationTimestamp": AT, "annotations": notes}
    spec: dict[str, Any] = {"containers": [{}], **({"nodeName": node} if node else {})}
    status: dict[str, Any] = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": str(ready)}]}
    status["containerStatuses"] = [{"name": "main", "state": state, "restartCount": 0}] if state else []
    return records.pod_record({"metadata": metadata, "spec": spec, "status": status}, None)


RUNNING = pod({"running": {"startedAt": AT}})


def seen(one: PodRecord, *words: Words) -> ReplicaObservation:
    said = dict.fromkeys([one.name], words[0]) if words else {}
    return servers.observe(SERVER, [one], said, Room(None, 0), ByPod()).replicas[0]


@pytest.mark.parametrize(
    ("one", "words", "phase"),
    [
        (pod(node=""), (), StartPhase.SCHEDULE),
        (pod(), (), StartPhase.PULL),
        (pod({"waiting": {"reason": "ContainerCreating"}}), (), StartPhase.PULL),
        (RUNNING, (), StartPhase.START),
        (RUNNING, (Words("Fetching", ".", BEGUN),), StartPhase.FETCH),
        (RUNNING, (Words("Loading", ".", BEGUN),), StartPhase.LOAD),
        (RUNNING, (Words("WarmingUp", ".", BEGUN),), StartPhase.WARM_UP),
        (RUNNING, (Words("Musing", ".", BEGUN),), StartPhase.START),
    ],
)
def test_each_phase_of_a_start_is_seen(one: PodRecord, words: tuple[Words, ...], phase: StartPhase) -> None:
    assert seen(one, *words).phase is phase


def test_one_that_says_it_is_ready_is_so_before_the_cluster_says_it_too() -> None:
    ready = seen(RUNNING, Words("Ready", ".", BEGUN, {StartPhase.LOAD: 2.0}))
    assert (ready.state, ready.seconds) == (ProcessState.RUNNING, {StartPhase.LOAD: 2.0})


def test_what_a_container_said_is_not_believed_of_the_next_one() -> None:
    earlier = Words("Ready", ".", BEGUN - timedelta(minutes=1))
    assert seen(RUNNING, earlier).state is ProcessState.STARTING


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ('Container image "i:1" already present on machine', 0.0),
        ('Successfully pulled image "i:1" in 3.25s', 3.25),
        ('Successfully pulled image "i:1" in 350.5ms', 0.3505),
        ('Successfully pulled image "i:1" in 1m2.5s (1m3s including waiting)', 62.5),
        ('Successfully pulled image "i:1"', None),
        ("", None),
    ],
)
def test_a_pull_took_what_the_node_says(message: str, seconds: float | None) -> None:
    assert pull_seconds(message) == (None if seconds is None else pytest.approx(seconds))


class Says(ByPod):
    """A pod that says these things, one each time it is asked, and the last for ever."""

    def __init__(self, *answers: Mapping[str, object] | None) -> None:
        self.answers = list(answers)

    async def ask(self, pod: PodRecord) -> dict[str, object] | None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return dict(answer) if answer is not None else None

    def address(self, server: ServerRecord, pod: PodRecord) -> Address | None:
        return Address(pod.ip, 8080)


class Events:
    """A cluster that was asked for events."""

    def path(self, *_: str) -> str:
        return "/events"

    async def get(self, *_: object) -> dict[str, Any]:
        return {"items": [{"message": 'Successfully pulled image "i" in 2s'}]}


async def heard(reach: Says) -> tuple[list[str], Words]:
    """The words in their order until there were no more, and the last ones."""
    said: dict[str, Words] = {}
    order: list[str] = []
    over = asyncio.Event()

    def changed() -> None:
        order.append(said["p"].reason)
        if len(reach.answers) == 1:
            over.set()

    asker = Asker(cast(Client, Events()), lambda: {"p": RUNNING}, said, reach, 0.01, changed)
    asking = asyncio.create_task(asker.run())
    async with asyncio.timeout(10):
        await over.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    return order, said["p"]


LOADING, READY = {"reason": "Loading", "message": "."}, {"reason": "Ready", "message": ".", "seconds": {"load": 1.5}}


async def test_a_server_is_asked_until_it_is_ready_and_tells_what_it_took() -> None:
    order, last = await heard(Says(None, LOADING, LOADING, READY))
    assert order == ["NotReady", "Loading", "Ready"]
    assert last.seconds == {StartPhase.LOAD: 1.5, StartPhase.PULL: 2.0}


async def test_behind_a_service_the_cluster_has_the_last_word() -> None:
    reach = Says(LOADING, LOADING, READY)
    reach.direct = False
    _, last = await heard(reach)
    assert last.reason == "NotReady" and "cluster" in last.message


def test_a_pod_that_goes_is_not_ready_whatever_it_says() -> None:
    going = replace(RUNNING, deleting=True)
    assert seen(going, Words("Ready", ".", BEGUN)).state is ProcessState.STOPPING
