"""Deployments that follow their load on a real cluster: from none with the first prediction, and how long that takes
beside what a pod takes by itself; short of GPUs; from four to none to four under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import aiohttp
import httpx2
import pytest
import uvicorn

from app.bootstrap import Platform, assemble
from app.core.conditions import DeploymentPhase, find
from app.core.nudge import Nudges
from app.core.scaling import Elastic, StartPhase, Wake
from app.core.settings import Settings
from app.core.specs import ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.main import create_app
from app.proxy.server import HttpProtocol
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import INSTANCE, PORT
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.store.deployments import DeploymentStore
from app.tracking.mlflow import Mlflow
from tests.contracts.runtime_actor import SERVE, Act
from tests.contracts.runtime_bodies import GPUS, server, until
from tests.fakes.mlflow import FakeMlflow
from tests.support.gateway_process import free_port

pytestmark = [pytest.mark.xdist_group("runtime-kubernetes"), pytest.mark.timeout(600)]

TASK, BARE = "iris", "serve-bare"
STARTS = 10
SLEEPY = Elastic(min_replicas=0, max_replicas=4, target_concurrency=2, idle_seconds=3)


def model(gpus: int = 0) -> ServerSpec:
    """A server that is ready as soon as it listens, and says so as a real one does."""
    act = Act(SERVE, says=("here",), reason="Ready", message="It is.")
    return replace(server(act, gpus=gpus), task_id=TASK)


@dataclass
class Place:
    """A whole gateway on the cluster, entered by HTTP for predictions; deployments are put into its store."""

    platform: Platform
    runtime: KubernetesRuntime
    url: str
    session: aiohttp.ClientSession

    async def deploy(self, spec: ServerSpec, elastic: Elastic) -> None:
        """Ready once."""
        now, request = datetime.now(UTC), {"modelProfile": "p", "taskId": TASK, "modelId": TASK}
        await self.store.add(
            Deployment(
                0, TASK, spec.uid, TASK, request, spec, Desired.RUN, "r", None, DeploymentStatus(), now, elastic=elastic
            )
        )
        await until(self.is_(DeploymentPhase.READY))

    @property
    def store(self) -> DeploymentStore:
        return DeploymentStore(self.platform.database)

    async def kept(self) -> Deployment:
        return await self.store.get(TASK)

    def is_(self, phase: DeploymentPhase, ready: int | None = None) -> Callable[[], Awaitable[Deployment | None]]:
        async def look() -> Deployment | None:
            kept = await self.kept()
            return kept if kept.status.phase is phase and ready in (None, kept.status.ready) else None

        return look

    async def asleep(self) -> None:
        """And all its pods are gone."""
        await until(self.is_(DeploymentPhase.ASLEEP))

        async def empty() -> bool:
            return not (await self.runtime.observe_servers(["serve-a"]))["serve-a"].replicas

        await until(empty)

    async def predict(self) -> tuple[int, float]:
        """The answer's status, and the seconds that it took."""
        began = time.monotonic()
        async with self.session.post(f"{self.url}/api/v1/inference/{TASK}/predict", json={"data": {}}) as answer:
            await answer.read()
        return answer.status, time.monotonic() - began


@pytest.fixture
async def place(settings: KubernetesSettings, tmp_path: Path) -> AsyncIterator[Place]:
    nudges = Nudges()
    runtime = KubernetesRuntime(settings, on_change=nudges)
    tracking = Mlflow(httpx2.AsyncClient(transport=FakeMlflow(), base_url="http://mlflow"))
    platform = assemble(Settings(home=tmp_path), runtime, tracking, nudges, [runtime])
    port = free_port()
    config = uvicorn.Config(
        create_app(platform), port=port, http=HttpProtocol, ws="none", log_config=None, access_log=False
    )
    gateway = uvicorn.Server(config)
    serving = asyncio.create_task(gateway.serve())

    async def started() -> bool:
        return gateway.started

    await until(started)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session:
        yield Place(platform, runtime, f"http://127.0.0.1:{port}", session)
    gateway.should_exit = True
    await serving


async def by_itself(client: Client, settings: KubernetesSettings, session: aiohttp.ClientSession) -> float:
    """Seconds from the wish for a first pod of the same kind, by nobody but the cluster, to its first answer."""
    spec = replace(model(), name=BARE, uid="bare", replicas=0)
    path, pods = client.path("apps/v1", "deployments"), client.path("", "pods")
    made = manifests.deployment(spec, settings)
    for one in (made["metadata"], made["spec"]["template"]["metadata"]):
        one["labels"].pop("app.kubernetes.io/managed-by", None)  # so that no gateway watches it
    made["spec"]["selector"] = {"matchLabels": {INSTANCE: BARE}}
    await client.create(path, made)
    began = time.monotonic()
    await client.merge(f"{path}/{BARE}", {"spec": {"replicas": 1}})

    async def answers() -> bool:
        found = await client.get(pods, {"labelSelector": f"{INSTANCE}={BARE}"})
        ip = next((one["status"].get("podIP") for one in found["items"]), None)
        try:
            async with session.post(f"http://{ip}:{PORT}/predict", json={}) as answer:
                return ip is not None and answer.status == 200
        except (aiohttp.ClientError, OSError):
            return False

    await until(answers)
    took = time.monotonic() - began
    await client.delete(f"{path}/{BARE}")

    async def gone() -> bool:
        return not (await client.get(pods, {"labelSelector": f"{INSTANCE}={BARE}"}))["items"]

    await until(gone)
    return took


async def test_the_first_prediction_starts_a_pod_and_is_answered_by_it(
    place: Place, client: Client, settings: KubernetesSettings
) -> None:
    await place.deploy(model(), SLEEPY)
    told: list[tuple[float, float, Wake]] = []
    for number in range(1, STARTS + 1):
        await place.asleep()
        last = (await place.kept()).status.wakes[-1]
        alone = await by_itself(client, settings, place.session)
        answers = await asyncio.gather(*(place.predict() for _ in range(10)))
        assert {status for status, _ in answers} == {200}

        async def measured(before: Wake = last) -> Wake | None:
            found = (await place.kept()).status.wakes[-1]
            return found if found != before else None

        wake = await until(measured)
        assert (await place.kept()).woken == number
        assert wake.total == pytest.approx(sum(wake.seconds.values()), rel=0.02)
        told.append((alone, max(seconds for _, seconds in answers), wake))
    _tell(told)


def _tell(told: list[tuple[float, float, Wake]]) -> None:
    print("\n  pod alone  first answer  " + "  ".join(f"{phase.value:>8}" for phase in StartPhase) + "     total")
    for alone, answered, wake in told:
        phases = "  ".join(f"{wake.seconds[phase]:8.3f}" for phase in StartPhase)
        print(f"  {alone:9.3f}  {answered:12.3f}  {phases}  {wake.total:8.3f}")
    alone, answered = median(one[0] for one in told), median(one[1] for one in told)
    print(f"  medians: {alone:.3f} s alone, {answered:.3f} s through the gateway; added {answered - alone:.3f} s")


async def test_from_four_to_none_to_four_under_load_no_prediction_is_lost(place: Place) -> None:
    await place.deploy(model(), SLEEPY)
    statuses: list[int] = []

    async def ask_on() -> None:
        while True:
            statuses.append((await place.predict())[0])

    for _ in range(2):
        asking = [asyncio.create_task(ask_on()) for _ in range(16)]
        await until(place.is_(DeploymentPhase.READY, ready=4), 120)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await until(place.is_(DeploymentPhase.ASLEEP))
    statuses.append((await place.predict())[0])
    print(len(statuses), "predictions")
    assert set(statuses) == {200}


async def test_short_of_gpus_it_says_so_and_keeps_what_it_has(place: Place) -> None:
    if (await place.runtime.capabilities()).gpus != GPUS:
        pytest.skip(
            f"The cluster does not advertise {GPUS} GPUs, so it stays unproved that a shortage of them is said."
        )
    bounds = Elastic(min_replicas=1, max_replicas=GPUS + 3, target_concurrency=1, idle_seconds=300)
    await place.deploy(model(gpus=1), bounds)

    async def ask_on() -> None:
        while True:
            assert (await place.predict())[0] == 200

    asking = [asyncio.create_task(ask_on()) for _ in range(32)]

    async def short() -> str | None:
        found = find((await place.kept()).status.conditions, "Scaling")
        return found.message if found and found.reason == "Unschedulable" else None

    message = await until(short, 120)
    print(message)
    assert "asks for 1 GPU; 0 of 2 are free" in message
    kept = await place.kept()
    assert (kept.status.phase, kept.spec.replicas) == (DeploymentPhase.READY, GPUS + 1)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
