"""Deployments that follow their load, as real processes behind two real gateways, of which one is killed."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.support.gateway_process import CHECKOUT, GatewayProcess, eventually, gateway_process

pytestmark = [pytest.mark.journey, pytest.mark.xdist_group("journey")]
RUN = "90df8a7a263149d2bb86a71be7442611"
DEPLOYMENTS, NAME = "/api/v1/inference/deployments", "e"
URL, PREDICT = f"{DEPLOYMENTS}/{NAME}", f"/api/v1/inference/{NAME}/predict"
INTERPRETER = """#!/bin/sh
# An interpreter that plays the model server, and is Python for everything else.
case "$*" in
    *"-m inference_server"*) exec {python} {stub} ;;
    *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def gateways(tmp_path: Path) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two that share a home; both have begun, and one of them leads."""
    interpreter = tmp_path / "python"
    interpreter.write_text(INTERPRETER.format(python=sys.executable, stub=CHECKOUT / "tests/support/stub_server.py"))
    interpreter.chmod(0o755)
    with FakeMlflowRest() as mlflow, contextlib.ExitStack() as stack:
        mlflow.log(tmp_path, "0" * 64, run_id=RUN)
        settings = {
            "MLOPS_TRACKING__URI": mlflow.url,
            "MLOPS_LOCAL__PYTHON": str(interpreter),
            "MLOPS_CONTROLLER__LEASE_SECONDS": "2",
            "MLOPS_LOCAL__GPUS": "2",
        }
        first = stack.enter_context(gateway_process(tmp_path / "home", **settings))
        second = stack.enter_context(gateway_process(tmp_path / "home", **settings))
        yield first, second
        first.kill()  # so that the other, at its end, can stop all that runs


def deploy(gateway: GatewayProcess, **fields: Any) -> None:
    body = {"taskId": NAME, "modelId": NAME, "mlflowRunId": RUN, "modelProfile": "tabular_regression", **fields}
    answer = gateway.client.post(DEPLOYMENTS, json=body)
    assert answer.status_code == 202, answer.text


def change(gateway: GatewayProcess, **bounds: int) -> None:
    answer = gateway.client.patch(URL, json=bounds)
    assert answer.status_code == 200, answer.text


def status_is(gateway: GatewayProcess, word: str, ready: int | None = None, wakes: int | None = None) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        status: dict[str, Any] = gateway.client.get(f"{URL}/status").json()
        fits = status["status"] == word and ready in (None, status["replicas"]["ready"])
        return status if fits and wakes in (None, status["wakes"]) else None

    def explain() -> str:
        return f"{gateway.client.get(f'{URL}/status').text}\n{gateway.log()[-5000:]}"

    found: dict[str, Any] = eventually(look, 60, explain)
    return found


class Load:
    """Clients that predict one after the other until told to stop; they count what is not answered as it should."""

    def __init__(self, gateways: tuple[GatewayProcess, ...], clients: int) -> None:
        self.answered, self.lost = 0, list[str]()
        self._over = threading.Event()
        ports = [gateway.port for gateway in gateways]
        self._clients = [
            threading.Thread(target=self._predict, args=(ports[number % len(ports)], number))
            for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join(90)

    def _predict(self, port: int, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not self._over.is_set():
            body = b"%d %d" % (number, time.monotonic_ns())
            try:
                connection.request("POST", PREDICT, body, {"content-type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            if (answer.status, said) == (200, body):
                self.answered += 1
            else:
                self.lost.append(f"{answer.status} {said[:300]!r}")
        connection.close()


async def first_predictions(ports: list[int], count: int) -> list[bytes]:
    """The status lines of so many at once, each on a connection of its own."""

    async def predict(number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[number % len(ports)])
        body = b"%d" % number
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        return answer.split(b"\r\n", 1)[0] + b" " + answer.rsplit(b"\r\n\r\n", 1)[-1]

    return await asyncio.gather(*(predict(number) for number in range(count)))


def test_a_thousand_first_predictions_at_two_gateways_wake_it_once(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    deploy(gateways[0], minReplicas=0, maxReplicas=4, idleSeconds=2, targetConcurrency=1000)
    status_is(gateways[0], "Ready")
    status_is(gateways[1], "Asleep")
    answers = asyncio.run(first_predictions([gateway.port for gateway in gateways], 1000))
    assert answers == [b"HTTP/1.1 200 OK %d" % number for number in range(1000)]
    status = status_is(gateways[0], "Ready", wakes=1)
    wake = status["lastWake"]
    phases = [wake[name] for name in ("schedule", "pull", "start", "fetch", "load", "warmUp")]
    assert sum(phases) == pytest.approx(wake["total"], rel=0.02)
    assert wake["load"] >= 0.15


def test_from_eight_to_none_to_eight_under_load_nothing_is_lost(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    deploy(gateways[0], minReplicas=0, maxReplicas=8, idleSeconds=2, targetConcurrency=1)
    status_is(gateways[0], "Ready")
    lost = []
    for _ in range(2):
        with Load(gateways, 16) as load:
            status_is(gateways[0], "Ready", ready=8)
            change(gateways[1], maxReplicas=1)
            status_is(gateways[0], "Ready", ready=1)
            change(gateways[1], maxReplicas=8)
            status_is(gateways[0], "Ready", ready=8)
        lost += load.lost
        status_is(gateways[1], "Asleep")
    assert lost == []


def test_whoever_is_killed_what_sleeps_sleeps_on_and_what_was_woken_wakes(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    first, second = gateways
    deploy(first, minReplicas=0, idleSeconds=2)
    status_is(first, "Ready")
    status_is(second, "Asleep")
    for gateway in gateways:
        gateway.kill()
    for gateway in gateways:
        gateway.start()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        assert status_is(second, "Asleep")["wakes"] == 0
    caller = threading.Thread(target=lambda: asyncio.run(first_predictions([second.port], 1)))
    caller.start()
    eventually(lambda: first.client.get(f"{URL}/status").json()["wakes"] == 1)
    for gateway in gateways:
        gateway.kill()
    caller.join(30)
    first.start()
    assert status_is(first, "Ready")["wakes"] == 1
    status_is(first, "Asleep", wakes=1)


def test_short_of_gpus_it_says_so_and_keeps_what_it_has(gateways: tuple[GatewayProcess, GatewayProcess]) -> None:
    bounds = {"minReplicas": 1, "maxReplicas": 6, "targetConcurrency": 1}
    deploy(gateways[0], modelProfile="image_classification", useGpu=True, **bounds)
    for gateway in gateways:  # one that was never ready is not waited for, and each learns of it by itself
        eventually(lambda one=gateway: one.client.post(PREDICT, content=b"x").status_code == 200)
    with Load(gateways, 8) as load:
        status_is(gateways[0], "Ready", ready=2)

        def short() -> dict[str, Any] | None:
            status: dict[str, Any] = gateways[0].client.get(f"{URL}/status").json()
            found: dict[str, Any] = next(one for one in status["conditions"] if one["type"] == "Scaling")
            return status if found["reason"] == "Unschedulable" and "0 of 2 are free" in found["message"] else None

        status = eventually(short)
    assert status["replicas"] == {"wanted": 3, "ready": 2}
    assert (status["status"], load.lost) == ("Ready", [])
