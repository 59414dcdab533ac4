"""kill -9 of the gateway at any moment of a submit: the job exists once, and its log and exit code are there."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess, eventually, gateway_process
from tests.support.http_server import serving

TRAINER = """#!/bin/sh
# An interpreter that plays the trainer, and is Python for everything else.
case "$*" in
    *"-m trainer"*) echo "started"; sleep 0.3; echo "done"; exit 7 ;;
    *) exec {python} "$@" ;;
esac
"""


class EmptyMlflow(BaseHTTPRequestHandler):
    """An MLflow without experiments."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'
        self.send_response(404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    interpreter = tmp_path / "python"
    interpreter.write_text(TRAINER.format(python=sys.executable))
    interpreter.chmod(0o755)
    with (
        serving(EmptyMlflow) as mlflow,
        gateway_process(
            tmp_path / "home",
            MLOPS_TRACKING__URI=mlflow,
            MLOPS_LOCAL__PYTHON=str(interpreter),
            MLOPS_CONTROLLER__LEASE_SECONDS="1",
        ) as process,
    ):
        yield process


def body(task_id: str) -> dict[str, object]:
    return {
        "taskId": task_id,
        "experimentName": "Crash",
        "modelProfile": "tabular_regression",
        "customModelName": "m",
        "datasetPath": "/data.csv",
    }


def submit(gateway: GatewayProcess, task_id: str) -> int:
    with contextlib.suppress(httpx2.TransportError):
        return gateway.client.post("/api/v1/train/jobs", json=body(task_id)).status_code
    return 0


@pytest.mark.journey
def test_a_job_survives_the_gateway_once(gateway: GatewayProcess) -> None:
    chance = random.Random(7)
    for number in range(6):
        task_id = f"crash-{number}"
        caller = threading.Thread(target=submit, args=(gateway, task_id))
        caller.start()
        time.sleep(chance.uniform(0, 0.12))  # the moment of the crash, not a wait for anything
        gateway.kill()
        caller.join()
        gateway.start()
        assert submit(gateway, task_id) in (200, 202)
        status = f"/api/v1/train/jobs/{task_id}/status"
        ended = eventually(lambda url=status: _ended(gateway, url), explain=lambda url=status: _story(gateway, url))
        assert ended["status"] == "Failed"
        assert ended["termination"]["exitCode"] == 7
        log = gateway.client.get(f"/api/v1/train/jobs/{task_id}/logs").text
        assert log.splitlines().count("started") == 1
    assert len(gateway.client.get("/api/v1/train/jobs").json()["items"]) == 6


@pytest.mark.journey
def test_equal_submits_at_once_make_one_job(gateway: GatewayProcess) -> None:
    codes: list[int] = []
    callers = [threading.Thread(target=lambda: codes.append(submit(gateway, "same"))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(codes) == [200] * 7 + [202]
    eventually(lambda: _ended(gateway, "/api/v1/train/jobs/same/status"))
    log = gateway.client.get("/api/v1/train/jobs/same/logs").text
    assert log.splitlines().count("started") == 1


def _story(gateway: GatewayProcess, url: str) -> str:
    files = "\n".join(str(path) for path in sorted((gateway.home / "jobs").rglob("*")))
    return f"{gateway.client.get(url).text}\n{files}\n{gateway.log()}"


def _ended(gateway: GatewayProcess, url: str) -> dict[str, object] | None:
    status: dict[str, object] = gateway.client.get(url).json()
    return status if status["status"] in ("Succeeded", "Failed", "Cancelled") else None
