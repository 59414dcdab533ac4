"""The whole gateway in this process, around a fake runtime and a fake MLflow, entered by REST."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from app.bootstrap import Platform, assemble
from app.core.nudge import Nudges
from app.core.settings import Settings
from app.main import create_app
from app.tracking.mlflow import Mlflow
from tests.fakes.mlflow import FakeMlflow
from tests.fakes.runtime import FakeRuntime


@dataclass
class Yard:
    """What a test holds: the API's client, and the worlds behind it."""

    client: httpx2.AsyncClient
    platform: Platform
    runtime: FakeRuntime
    mlflow: FakeMlflow

    async def submit(self, **changes: Any) -> httpx2.Response:
        return await self.client.post("/api/v1/train/jobs", json=train_body(**changes))

    async def deploy(self, **changes: Any) -> httpx2.Response:
        return await self.client.post("/api/v1/inference/deployments", json=deploy_body(**changes))

    async def job(self, task_id: str = "train-reg-01") -> dict[str, Any]:
        status: dict[str, Any] = (await self.client.get(f"/api/v1/train/jobs/{task_id}/status")).json()
        return status

    async def deployment(self, task_id: str = "deploy-reg-01") -> dict[str, Any]:
        status: dict[str, Any] = (await self.client.get(f"/api/v1/inference/deployments/{task_id}/status")).json()
        return status


def fake_platform(home: Path, **settings: Any) -> tuple[Platform, FakeRuntime, FakeMlflow]:
    """A platform in fake worlds, not opened yet; two on one `home` share a store."""
    nudges, runtime, mlflow = Nudges(), FakeRuntime(), FakeMlflow()
    runtime.on_change = nudges
    tracking = Mlflow(httpx2.AsyncClient(transport=mlflow, base_url="http://mlflow"))
    controller = {"period_seconds": 0.02, "lease_seconds": 1}
    chosen = Settings(home=home, controller=controller, **settings)  # type: ignore[arg-type]
    return assemble(chosen, runtime, tracking, nudges), runtime, mlflow


@contextlib.asynccontextmanager
async def yard(home: Path, **settings: Any) -> AsyncIterator[Yard]:
    """A running platform in fake worlds."""
    platform, runtime, mlflow = fake_platform(home, **settings)
    await platform.open()
    try:
        transport = httpx2.ASGITransport(app=create_app(platform))
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            yield Yard(client, platform, runtime, mlflow)
    finally:
        await platform.close()


async def sqlite_is_quiet() -> None:
    """aiosqlite's threads answer the event loop even after a connection that failed: let them, while it is there."""
    while any("_connection_worker" in thread.name for thread in threading.enumerate()):  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """What `look` gives as soon as it gives something true."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110 - nothing could tell us
            await asyncio.sleep(0.01)
    return found


def train_body(**changes: Any) -> dict[str, Any]:
    """The published example of a training request; a change to None leaves the field out."""
    body = {
        "taskId": "train-reg-01",
        "experimentName": "House Price Prediction",
        "modelProfile": "tabular_regression",
        "customModelName": "predictorHouseValue",
        "initialModelFilePath": "None",
        "datasetPath": "s3://datasets/house-prices.csv",
        "trainerImage": "localhost:5002/mlflow-trainer:latest",
        "useGpu": False,
        "hyperparameters": {"numEpoch": 100, "learningRate": 0.001, "numBatch": 32},
    } | changes
    return {name: value for name, value in body.items() if value is not None}


def deploy_body(**changes: Any) -> dict[str, Any]:
    """The published example of a deployment request; a change to None leaves the field out."""
    body = {
        "taskId": "deploy-reg-01",
        "modelId": "predictor-house-v1",
        "mlflowRunId": "90df8a7a263149d2bb86a71be7442611",
        "modelProfile": "tabular_regression",
        "useGpu": False,
    } | changes
    return {name: value for name, value in body.items() if value is not None}
