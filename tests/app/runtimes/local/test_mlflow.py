"""The platform's own MLflow, for real."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError, PortTaken, TrackingUnavailable
from app.runtimes.local.mlflow import NAME, MlflowServer
from app.runtimes.local.mlflow_program import serve
from app.runtimes.local.probe import ask
from tests.app.runtimes.local.workshop import Workshop, replica_when


async def never_starts(scope: object, receive: object, send: Callable[[dict[str, str]], Awaitable[None]]) -> None:
    """An application that ends the server, should it come so far."""
    await send({"type": "lifespan.startup.failed", "message": "It is only a test."})


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
            with pytest.raises(PortTaken, match=f"Port {port} is taken by another program") as outage:
                await mlflow.wait_ready(30)
            assert outage.value.public.endswith("Set MLOPS_TRACKING__PORT to a free port.")
            with pytest.raises(PortTaken):
                await mlflow.check()
            other_port = MlflowServer(runtime, free_port())
            await other_port.start()
            with pytest.raises(TrackingUnavailable, match="Starting"):
                await other_port.check()


async def test_another_mlflow_on_the_port_never_counts_as_ours(workshop: Workshop) -> None:
    served = threading.Event()

    class Foreign(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.set()
            self.send_response(200)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Foreign) as other:
        threading.Thread(target=other.serve_forever).start()
        try:
            async with workshop.runtime(probe_period=0.05) as runtime:
                mlflow = MlflowServer(runtime, other.server_port)
                await mlflow.start()
                for restarts in range(3):  # through back-offs and starts
                    await replica_when(runtime, NAME, lambda seen, least=restarts: seen.restarts >= least)
                    with pytest.raises((PortTaken, TrackingUnavailable)):
                        await mlflow.check()
        finally:
            other.shutdown()
    assert not served.is_set()


def test_who_is_bound_to_a_port_but_cannot_listen_says_no_address(tmp_path: Path) -> None:
    with socket.socket() as ours, socket.socket() as theirs:
        for one in (ours, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", ours.getsockname()[1] if one is theirs else 0))
        theirs.listen()
        with pytest.raises(OSError, match="in use"):
            serve(ours, tmp_path / "address", application="tests.app.runtimes.local.test_mlflow:never_starts")
    assert not (tmp_path / "address").exists()


async def test_a_port_that_is_free_again_is_taken_at_the_next_start(workshop: Workshop) -> None:
    async with workshop.runtime(backoff_first=600, backoff_last=600) as runtime:
        with socket.create_server(("127.0.0.1", 0)) as other:
            mlflow = MlflowServer(runtime, other.getsockname()[1])
            await mlflow.start()
            with pytest.raises(PortTaken):
                await mlflow.wait_ready(30)
        await mlflow.start()
        with pytest.raises(TrackingUnavailable, match="Starting"):
            await mlflow.check()


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
