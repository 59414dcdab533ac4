"""Models that change and pods that go, under a steady load through the real proxy: nobody may notice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from app.controllers.deployments import DeploymentController
from app.controllers.loop import Loop
from app.controllers.routes import RouteController
from app.controllers.scaler import Scaler
from app.controllers.wakes import WakeWatch
from app.core.conditions import Condition, find
from app.core.nudge import Nudges
from app.core.specs import ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.store.database import Database
from app.store.deployments import DeploymentStore
from app.store.loads import LoadStore
from tests.app.proxy.gateway import PATH, Gateway, gateway
from tests.contracts.runtime_actor import SERVE, STARE, Act
from tests.contracts.runtime_bodies import GPUS, server, until

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")  # one namespace, so one after the other

TASK = "iris"  # of the proxy's tests
PER_SECOND, CLIENTS = 50, 100
NO_ANSWER = 0  # counted as a status
DEADLINE = timedelta(seconds=6)  # of models that never become ready
UPDATES, EACH_BROKEN = 20, 4


def model(version: int, replicas: int = 1, gpus: int = 0) -> ServerSpec:
    return replace(server(Act(SERVE, says=(f"v{version}",)), replicas=replicas, gpus=gpus), task_id=TASK)


def broken(version: int) -> ServerSpec:
    act = Act(STARE, reason="Broken", message=f"v{version} is broken.")
    return replace(server(act), task_id=TASK, start_deadline=DEADLINE)


@dataclass
class Load:
    """What the clients saw: how often each status, and the versions in the order in which they first answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    last: str = ""

    async def run(self, port: int) -> None:
        """Ask steadily. Connections are let go before the server closes them, so that none breaks under a request."""
        connector = aiohttp.TCPConnector(keepalive_timeout=2, limit=CLIENTS)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as asking:
            while True:
                asking.create_task(self._ask(session, f"http://127.0.0.1:{port}{PATH}"))
                await asyncio.sleep(1 / PER_SECOND)

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> None:
        try:
            async with session.post(url, json={"data": {}}) as answer:
                said = await answer.json(content_type=None) if answer.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError):
            self.statuses[NO_ANSWER] += 1
            return
        self.statuses[answer.status] += 1
        self.last = str(said.get("says", [""])[0])

    async def says(self, wanted: str) -> bool:
        """Whether the last answer was this."""
        return self.last == wanted


class Place:
    """One gateway's store, controllers and proxy on the real cluster."""

    def __init__(self, store: DeploymentStore, proxy: Gateway, nudges: Nudges) -> None:
        self.store, self.proxy, self._nudges = store, proxy, nudges
        self.load = Load()

    async def roll_out(self, spec: ServerSpec, reason: str) -> None:
        """Ask for another model, and wait until its rollout has come to this end."""

        def asked(kept: Deployment) -> Deployment:
            return replace(kept, spec=spec, revision=kept.revision + 1)

        revision = (await self.store.change(TASK, asked)).revision
        self._nudges()

        async def over() -> Condition | None:
            kept = await self.store.get(TASK)
            found = find(kept.status.conditions, "Progressing")
            return found if found and kept.status.revision == revision and found.reason == reason else None

        await until(over)

    async def ready(self, spec: ServerSpec) -> None:
        """Deploy, and wait until every replica has been ready."""
        request = {"modelProfile": "p"}
        now = datetime.now(UTC)
        await self.store.add(
            Deployment(0, TASK, spec.uid, TASK, request, spec, Desired.RUN, "r", None, DeploymentStatus(), now)
        )
        self._nudges()

        async def serving() -> bool:
            return (await self.store.get(TASK)).status.serving is not None

        await until(serving)

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[Load]:
        async def answered() -> bool:
            return self.load.statuses.total() > PER_SECOND

        asking = asyncio.create_task(self.load.run(self.proxy.port))
        try:
            await until(answered)
            yield self.load
            before = self.load.statuses.total()
            await until(lambda: _more(self.load, before + PER_SECOND))
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _more(load: Load, count: int) -> bool:
    return load.statuses.total() > count


@pytest.fixture
async def place(settings: KubernetesSettings, tmp_path: Path) -> AsyncIterator[Place]:
    nudges = Nudges()
    runtime = KubernetesRuntime(settings, on_change=nudges)
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    await database.migrate()
    await runtime.start()
    async with gateway() as proxy:
        store = DeploymentStore(database)
        rounds = [
            DeploymentController(store, runtime, Scaler(dict, LoadStore(database, "test")), WakeWatch()).round,
            RouteController(store, runtime, proxy.routes.update).round,
        ]
        loops = [Loop(str(number), round_, 1) for number, round_ in enumerate(rounds)]
        for loop in loops:
            nudges.add(loop.nudge)
        tasks = [asyncio.create_task(loop.run()) for loop in loops]
        yield Place(store, proxy, nudges)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await runtime.close()
    await database.close()


@pytest.mark.timeout(600)
async def test_twenty_rolling_updates_of_which_five_are_broken_fail_no_prediction(place: Place) -> None:
    await place.ready(model(0))
    async with place.under_load() as load:
        good = 0
        for version in range(1, UPDATES + 1):
            if version % EACH_BROKEN == 0:
                await place.roll_out(broken(version), "RolloutFailed")
            else:
                await place.roll_out(model(version), "RolledOut")
                good = version
            await until(partial(load.says, f"v{good}"))
    assert set(load.statuses) == {200}, load.statuses


async def test_a_pod_that_is_deleted_under_load_fails_no_prediction(place: Place, client: Client) -> None:
    await place.ready(model(0, replicas=2))
    path = client.path("", "pods")
    async with place.under_load() as load:
        for _ in range(3):
            names = [item["metadata"]["name"] async for page in client.pages(path, {}) for item in page["items"]]
            await client.delete(f"{path}/{names[0]}", "Background")

            async def replaced(gone: str = names[0]) -> bool:
                pods = [item async for page in client.pages(path, {}) for item in page["items"]]
                ready = [pod for pod in pods if _is_ready(pod) and pod["metadata"]["name"] != gone]
                return len(ready) == 2

            await until(replaced)
    assert set(load.statuses) == {200}, load.statuses


def _is_ready(pod: dict) -> bool:  # type: ignore[type-arg]
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


async def test_on_the_last_gpu_predictions_wait_for_the_new_model(place: Place) -> None:
    await place.ready(model(0, gpus=GPUS))
    async with place.under_load() as load:
        await place.roll_out(model(1, gpus=GPUS), "RolledOut")
        await until(partial(load.says, "v1"))
    assert set(load.statuses) == {200}, load.statuses
