"""Deployments that follow their load, entered by REST: bounds, sleep, one wake, shortage, and gateways that die."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from app.bootstrap import assemble
from app.core.addresses import Address
from app.core.nudge import Nudges
from app.core.settings import Settings
from app.main import create_app
from app.tracking.mlflow import Mlflow
from tests.app.proxy.upstreams import Upstream
from tests.fakes.mlflow import FakeMlflow
from tests.fakes.runtime import FakeRuntime
from tests.support.platform import Yard, eventually

RUN = "90df8a7a263149d2bb86a71be7442611"
SERVER = "serve-deploy-reg-01"
URL = "/api/v1/inference/deployments/deploy-reg-01"
PREDICT = "/api/v1/inference/deploy-reg-01/predict"
SLEEPY = {"minReplicas": 0, "idleSeconds": 1}


@contextlib.asynccontextmanager
async def a_gateway(home: Path, runtime: FakeRuntime, mlflow: FakeMlflow, **settings: Any) -> AsyncIterator[Yard]:
    """One more gateway of the platform in `home`."""
    nudges = Nudges()
    runtime.on_change = nudges
    tracking = Mlflow(httpx2.AsyncClient(transport=mlflow, base_url="http://mlflow"))
    controller = {"period_seconds": 0.05, "lease_seconds": 1}
    chosen = Settings(home=home, controller=controller, **settings)  # type: ignore[arg-type]
    platform = assemble(chosen, runtime, tracking, nudges)
    await platform.open()
    try:
        transport = httpx2.ASGITransport(app=create_app(platform))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway", timeout=60) as client:
            yield Yard(client, platform, runtime, mlflow)
    finally:
        await platform.close()


@pytest.fixture
def mlflow() -> FakeMlflow:
    mlflow = FakeMlflow()
    mlflow.log(RUN, model_id="m-1")
    return mlflow


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def runtime(upstream: Upstream) -> FakeRuntime:
    runtime = FakeRuntime(gpus=2)
    runtime.listens_at = Address(*upstream.address)
    return runtime


@pytest.fixture
async def gateway(tmp_path: Path, runtime: FakeRuntime, mlflow: FakeMlflow) -> AsyncIterator[Yard]:
    async with a_gateway(tmp_path, runtime, mlflow) as running:
        yield running


async def status_is(gateway: Yard, word: str, **more: Any) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = await gateway.deployment()
        return status if status["status"] == word and more.items() <= status.items() else None

    found: dict[str, Any] = await eventually(look)
    return found


async def starts(gateway: Yard, count: int) -> None:
    async def look() -> bool:
        return len(gateway.runtime.launched) == count

    await eventually(look)


async def is_ready(gateway: Yard, count: int, replica: int = 0) -> dict[str, Any]:
    """The `count`th start of all has come to its end."""
    await starts(gateway, count)
    gateway.runtime.becomes_ready(SERVER, replica=replica)
    return await status_is(gateway, "Ready")


async def sleeps(gateway: Yard) -> dict[str, Any]:
    await gateway.deploy(**SLEEPY)
    await is_ready(gateway, 1)
    return await asleep(gateway)


async def asleep(gateway: Yard) -> dict[str, Any]:
    """It says so, and no prediction is sent to what is still there."""

    async def look() -> bool:
        route = gateway.platform.routes.get("deploy-reg-01")
        return route is not None and not route.ready

    status = await status_is(gateway, "Asleep")
    await eventually(look)
    return status


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next((one for one in status["conditions"] if one["type"] == type_), {"reason": "", "message": ""})


def bounds(answer: dict[str, Any]) -> tuple[Any, ...]:
    names = ("replicas", "minReplicas", "maxReplicas", "targetConcurrency", "idleSeconds")
    return tuple(answer[name] for name in names)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (1, None, None, None, None)),
        ({"replicas": 3}, (3, None, None, None, None)),
        ({"minReplicas": 0}, (1, 0, 1, 16, 300)),
        ({"maxReplicas": 4}, (1, 1, 4, 16, 300)),
        ({"minReplicas": 2}, (2, 2, 2, 16, 300)),
        ({"minReplicas": 0, "maxReplicas": 3, "targetConcurrency": 2, "idleSeconds": 9}, (1, 0, 3, 2, 9)),
    ],
)
async def test_what_is_left_out_has_its_default(gateway: Yard, body: dict[str, Any], expected: tuple[Any, ...]) -> None:
    answer = await gateway.deploy(**body)
    assert (answer.status_code, bounds(answer.json())) == (202, expected)
    assert (await gateway.deploy(**body)).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"replicas": 1, "minReplicas": 0}, {"/replicas", "/minReplicas"}),
        ({"replicas": 1, "idleSeconds": 9}, {"/replicas", "/idleSeconds"}),
        ({"targetConcurrency": 5}, {"/targetConcurrency"}),
        ({"idleSeconds": 5, "targetConcurrency": 5}, {"/targetConcurrency", "/idleSeconds"}),
        ({"minReplicas": 3, "maxReplicas": 2}, {"/minReplicas", "/maxReplicas"}),
        ({"maxReplicas": 2, "idleSeconds": 60}, {"/idleSeconds"}),
        ({"maxReplicas": 0}, {"/maxReplicas"}),
        ({"maxReplicas": 101}, {"/maxReplicas"}),
        ({"minReplicas": True}, {"/minReplicas"}),
        ({"minReplicas": "1"}, {"/minReplicas"}),
        ({"minReplicas": 0, "idleSeconds": 0}, {"/idleSeconds"}),
        ({"maxReplicas": 2, "targetConcurrency": 1.5}, {"/targetConcurrency"}),
    ],
)
async def test_what_contradicts_itself_is_pointed_at(gateway: Yard, body: dict[str, Any], pointers: set[str]) -> None:
    answer = await gateway.deploy(**body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert {cause["pointer"] for cause in answer.json()["causes"]} == pointers


async def test_bounds_are_changed_one_by_one_and_a_number_fixes_it_again(gateway: Yard) -> None:
    await gateway.deploy(minReplicas=2, maxReplicas=4)
    for change, status, expected in (
        ({"maxReplicas": 5}, 200, (2, 2, 5, 16, 300)),
        ({"minReplicas": 6}, 422, "/minReplicas"),
        ({"maxReplicas": 1}, 422, "/maxReplicas"),
        ({"idleSeconds": 60}, 422, "/idleSeconds"),
        ({"minReplicas": 3, "targetConcurrency": 7}, 200, (3, 3, 5, 7, 300)),
        ({"minReplicas": 0, "idleSeconds": 60}, 200, (3, 0, 5, 7, 60)),
        ({"replicas": 2, "maxReplicas": 3}, 422, "/replicas"),
        ({"replicas": 2}, 200, (2, None, None, None, None)),
        ({"targetConcurrency": 7}, 422, "/targetConcurrency"),
        ({"minReplicas": 4}, 200, (4, 4, 4, 16, 300)),
    ):
        answer = await gateway.client.patch(URL, json=change)
        assert answer.status_code == status, answer.text
        found = bounds(answer.json()) if status == 200 else answer.json()["causes"][0]["pointer"]
        assert found == expected, change


async def test_more_than_the_machine_holds_is_refused_before_it_is_needed(gateway: Yard) -> None:
    gateway.runtime.memory = 3 << 30
    answer = await gateway.deploy(minReplicas=0, maxReplicas=4)
    assert (answer.status_code, answer.json()["causes"][0]["pointer"]) == (422, "/maxReplicas")
    assert (await gateway.deploy(minReplicas=0, maxReplicas=3)).status_code == 202


async def test_one_that_is_idle_sleeps_and_says_so(gateway: Yard) -> None:
    status = await sleeps(gateway)
    assert (status["reason"], status["replicas"]) == ("Asleep", {"wanted": 0, "ready": 0})
    assert "The next one wakes it" in status["message"]
    assert condition(status, "Scaling")["reason"] == "Asleep"
    assert (status["wakes"], status["lastWake"]["total"] > 0) == (0, True)
    listed = (await gateway.client.get("/api/v1/inference/deployments", params={"status": "Asleep"})).json()
    assert [one["taskId"] for one in listed["items"]] == ["deploy-reg-01"]


async def test_a_thousand_first_predictions_are_held_and_wake_it_once(gateway: Yard, upstream: Upstream) -> None:
    await sleeps(gateway)
    waiting = [asyncio.create_task(gateway.client.post(PREDICT, content=b"%d" % number)) for number in range(1000)]
    await starts(gateway, 2)
    waking = await status_is(gateway, "Deploying")
    assert (waking["wakes"], waking["replicas"]["wanted"]) == (1, 1)
    status = await is_ready(gateway, 2)
    answers = await asyncio.gather(*waiting)
    assert [answer.content for answer in answers] == [b"%d" % number for number in range(1000)]
    phases = status["lastWake"]
    assert sum(phases[name] for name in ("schedule", "pull", "start", "fetch", "load", "warmUp")) == pytest.approx(
        phases["total"], rel=0.02
    )
    assert (await gateway.deployment())["wakes"] == 1
    assert len(gateway.runtime.launched) == 2
    metrics = (await gateway.client.get("/metrics")).text
    assert "deployment_wake_seconds_count 2.0" in metrics  # the first start is measured too
    assert 'deployment_wake_phase_seconds_count{phase="warmUp"} 2.0' in metrics


async def test_predictions_at_two_gateways_wake_it_once(
    tmp_path: Path, gateway: Yard, runtime: FakeRuntime, mlflow: FakeMlflow
) -> None:
    async with a_gateway(tmp_path, runtime, mlflow) as other:
        await sleeps(gateway)
        await asleep(other)
        assert sorted(one.platform.runner.leads() for one in (gateway, other)) == [False, True]
        held = [asyncio.create_task(one.client.post(PREDICT, content=b"x")) for one in (gateway, other) * 50]
        await is_ready(gateway, 2)
        assert {answer.status_code for answer in await asyncio.gather(*held)} == {200}
        assert (await other.deployment())["wakes"] == 1
        assert len(runtime.launched) == 2


async def test_while_it_sleeps_nothing_is_written(gateway: Yard) -> None:
    await sleeps(gateway)
    written: list[str] = []
    engine = gateway.platform.database._engine.sync_engine

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if ("deployments" in statement or "loads" in statement) and not statement.startswith("SELECT"):
            written.append(statement)

    rounds = gateway.runtime.observations
    sa.event.listen(engine, "before_cursor_execute", note)

    async def look() -> bool:
        return gateway.runtime.observations > rounds + 50

    await eventually(look)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert written == []


async def test_when_the_hold_runs_out_the_rest_of_the_wake_is_told(
    tmp_path: Path, runtime: FakeRuntime, mlflow: FakeMlflow
) -> None:
    async with a_gateway(tmp_path, runtime, mlflow, predict={"hold_seconds": 0}) as gateway:
        await gateway.deploy(**SLEEPY)
        early = await gateway.client.post(PREDICT, content=b"x")
        assert early.status_code == 503
        await is_ready(gateway, 1)
        await asleep(gateway)
        answer = await gateway.client.post(PREDICT, content=b"x")
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
        assert 1 <= int(answer.headers["retry-after"]) <= 10


async def test_a_gateway_that_starts_again_wakes_and_kills_nothing(
    tmp_path: Path, runtime: FakeRuntime, mlflow: FakeMlflow
) -> None:
    async with a_gateway(tmp_path, runtime, mlflow) as gateway:
        await sleeps(gateway)
        await gateway.deploy(taskId="busy", modelId="busy", minReplicas=1, maxReplicas=4)
        await gateway.platform.database.check()
    async with a_gateway(tmp_path, runtime, mlflow) as gateway:
        rounds = runtime.observations

        async def look() -> bool:
            return runtime.observations > rounds + 50

        await eventually(look)
        assert (await gateway.deployment())["status"] == "Asleep"
        assert runtime.launched == [f"{SERVER}-0", "serve-busy-0"]


async def test_a_wake_that_was_noted_by_one_that_died_is_carried_out(
    tmp_path: Path, runtime: FakeRuntime, mlflow: FakeMlflow
) -> None:
    async with a_gateway(tmp_path, runtime, mlflow) as gateway:
        await sleeps(gateway)
        leads = gateway.platform.runner.leads
        await gateway.platform.runner.stop()
        assert not leads()
        from app.store.deployments import DeploymentStore

        assert await DeploymentStore(gateway.platform.database).wake("deploy-reg-01")
    async with a_gateway(tmp_path, runtime, mlflow) as gateway:
        await is_ready(gateway, 2)
        assert (await gateway.deployment())["wakes"] == 1


async def test_a_shortage_of_gpus_is_said_with_numbers_and_nothing_is_taken_away(
    gateway: Yard, mlflow: FakeMlflow
) -> None:
    mlflow.log("image", model_id="m-2", profile="image_classification")
    await gateway.deploy(
        mlflowRunId="image", modelProfile="image_classification", useGpu=True, minReplicas=1, maxReplicas=6,
        targetConcurrency=1,
    )  # fmt: skip
    await is_ready(gateway, 1)
    await gateway.client.patch(URL, json={"minReplicas": 2})
    await starts(gateway, 2)
    gateway.runtime.becomes_ready(SERVER, replica=1)
    await gateway.client.patch(URL, json={"minReplicas": 3})

    async def look() -> dict[str, Any] | None:
        status = await gateway.deployment()
        return status if condition(status, "Scaling")["reason"] == "Unschedulable" else None

    status = await eventually(look)
    assert "1 GPU" in condition(status, "Scaling")["message"] and "0 of 2 are free" in str(status)
    assert condition(status, "Scaling")["status"] == "False"
    assert status["replicas"]["ready"] == 2
