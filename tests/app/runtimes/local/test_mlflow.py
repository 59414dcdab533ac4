"""The platform's own MLflow, for real."""

from __future__ import annotations

import json
import socket

import pytest

from app.core.errors import ConfigurationError, TrackingUnavailable
from app.runtimes.local.mlflow import NAME, MlflowServer
from app.runtimes.local.probe import ask
from tests.app.runtimes.local.workshop import Workshop


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.journey
async def test_mlflow_starts_is_adopted_and_stops_last(workshop: Workshop) -> None:
    port = free_port()
    async with workshop.runtime() as runtime:
        mlflow = MlflowServer(runtime, port)
        await mlflow.start()
        await mlflow.wait_ready(120)
        assert mlflow.uri == f"http://127.0.0.1:{port}"
        for host in ("localhost", "127.0.0.1"):
            answer = await ask((host, port), "/api/2.0/mlflow/experiments/get?experiment_id=0", 10)
            experiment = json.loads(answer.body)["experiment"]
            assert experiment["artifact_location"] == "mlflow-artifacts:/0"
        assert (workshop.home / "mlflow/mlflow.db").stat().st_size > 0
    async with workshop.runtime() as runtime:
        again = MlflowServer(runtime, port)
        await again.start()
        await again.wait_ready(5)
        assert (await runtime.observe_servers([NAME]))[NAME].replicas[0].restarts == 0
    assert (await workshop.stop_all())[-1] == f"server {NAME}-0: stopped"
    with pytest.raises(OSError):
        await ask(("127.0.0.1", port), "/health", 1)


async def test_a_port_that_is_taken_is_told_at_once(workshop: Workshop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with workshop.runtime(backoff_first=30) as runtime:
            mlflow = MlflowServer(runtime, port)
            await mlflow.start()
            with pytest.raises(TrackingUnavailable, match=f"cannot listen on port {port}.*Choose another port"):
                await mlflow.wait_ready(30)
            other_port = MlflowServer(runtime, free_port())
            await other_port.start()
            with pytest.raises(TrackingUnavailable, match="Starting"):
                await other_port.check()


async def test_without_mlflow_the_command_that_installs_it_is_told(workshop: Workshop) -> None:
    python = workshop.folder / "python"
    python.write_text("#!/bin/sh\necho mlflow\n")
    python.chmod(0o755)
    async with workshop.runtime(python=python) as runtime:
        with pytest.raises(ConfigurationError, match=r"pip install mlflow==3\.17\.2"):
            await MlflowServer(runtime, free_port()).start()


async def test_a_home_that_cannot_stand_in_a_database_url_is_refused(workshop: Workshop) -> None:
    workshop.home = workshop.folder / "what?"
    async with workshop.runtime() as runtime:
        with pytest.raises(ConfigurationError, match="its path"):
            await MlflowServer(runtime, free_port()).start()
