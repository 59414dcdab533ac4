"""Predictions that are answered later, by real gateways that are killed and frozen: each result is there, and once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway_process import GatewayProcess, eventually, gateway_process
from tests.support.http_server import serving
from tests.support.postgres import PROGRAMS, WHAT_STAYS_UNPROVED, postgres

INTERPRETER = """#!/bin/sh
# An interpreter that plays the inference server, and is Python for everything else.
case "$*" in
    *"-m inference_server"*) exec {python} {model} ;;
    *) exec {python} "$@" ;;
esac
"""
# Answers what it was asked, and which of all computations this was: no two answers are equal.
MODEL = """
import itertools, json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

computed = itertools.count()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = next(computed)
        time.sleep(asked["seconds"])
        self.reply({"asked": asked["number"], "computed": number, "pid": os.getpid()})

    def reply(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

letter = json.loads(os.environ["MLOPS_SERVER_INPUT"])
server = ThreadingHTTPServer(("127.0.0.1", int(letter["listen"].rpartition(":")[2])), Handler)
server.daemon_threads = True
if letter["address_file"]:
    with open(letter["address_file"] + ".new", "w") as file:
        file.write("127.0.0.1:%d" % server.server_port)
    os.rename(letter["address_file"] + ".new", letter["address_file"])
server.serve_forever()
"""


class OneRun(BaseHTTPRequestHandler):
    """An MLflow with one run that logged one model."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        run = {
            "info": {"run_id": "r" * 32, "status": "FINISHED"},
            "data": {"metrics": [], "tags": []},
            "outputs": {"model_outputs": [{"model_id": "m-1"}]},
        }
        body = json.dumps({"run": run}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of one store for several gateways."""
    if request.param == "sqlite":
        yield {}
    elif not PROGRAMS:
        pytest.skip(WHAT_STAYS_UNPROVED)
    else:
        with postgres() as url:
            yield {"MLOPS_STORE__URL": url}


@pytest.fixture
def gateways(tmp_path: Path, store: dict[str, str]) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    """Two gateways on one store, with one deployment that is ready."""
    model, interpreter = tmp_path / "model.py", tmp_path / "python"
    model.write_text(MODEL)
    interpreter.write_text(INTERPRETER.format(python=sys.executable, model=model))
    interpreter.chmod(0o755)
    with serving(OneRun) as mlflow:
        settings = {
            "MLOPS_TRACKING__URI": mlflow,
            "MLOPS_LOCAL__PYTHON": str(interpreter),
            "MLOPS_CONTROLLER__LEASE_SECONDS": "1.5",
            "MLOPS_DEFERRED__CONCURRENCY": "8",
            **store,
        }
        with gateway_process(tmp_path / "home", **settings) as first:
            second = GatewayProcess(tmp_path / "home", settings)
            try:
                second.start()
                deploy(first)
                eventually(lambda: predict(second, 0).status_code == 200, explain=second.log)
                yield first, second
            finally:
                second.kill()
                second.client.close()


def deploy(gateway: GatewayProcess, task_id: str = "later", **scaling: int) -> None:
    body = {"taskId": task_id, "modelId": task_id, "mlflowRunId": "r" * 32, "modelProfile": "tabular_regression"}
    answer = gateway.client.post("/api/v1/inference/deployments", json=body | scaling)
    assert answer.status_code == 202, answer.text


def predict(
    gateway: GatewayProcess, number: int, seconds: float = 0, task_id: str = "later", **headers: str
) -> httpx2.Response:
    body = {"number": number, "seconds": seconds}
    return gateway.client.post(f"/api/v1/inference/{task_id}/predict", json=body, headers=headers)


def submit(gateways: Iterator[GatewayProcess], number: int, seconds: float, task_id: str = "later") -> str:
    """The place of the result, from the first gateway that answers; asked again, it is the same prediction."""
    headers = {"prefer": "respond-async", "idempotency-key": f"number-{number}"}

    def try_one() -> str | None:
        with contextlib.suppress(httpx2.TransportError):
            answer = predict(next(gateways), number, seconds, task_id, **headers)
            if answer.status_code in (200, 202):
                return answer.headers.get("location") or answer.headers["content-location"]
            assert answer.status_code == 503, answer.text
        return None

    place: str = eventually(try_one)
    return place


def result(gateway: GatewayProcess, place: str) -> Any:
    """The result, if it is there; none of them has failed."""
    with contextlib.suppress(httpx2.TransportError):
        answer = gateway.client.get(place)
        if answer.headers.get("prediction-status") == "Done":
            assert answer.status_code == 200, answer.text
            return answer.json()
        assert answer.status_code in (202, 503), answer.text
    return None


def counted(gateway: GatewayProcess, outcome: str) -> float:
    name = re.escape(f'deferred_predictions_total{{outcome="{outcome}"}} ')
    found = re.search(f"^{name}(.*)$", gateway.client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0


@pytest.mark.journey
@pytest.mark.timeout(400)
def test_500_predictions_have_500_results_each_once_though_both_gateways_are_killed(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    turns = [itertools.cycle(gateways), itertools.cycle(reversed(gateways))]
    results: dict[int, Any] = {}
    places: dict[int, str] = {}

    def collect() -> int:
        """How many results are there, as far as was asked: each look asks for some of those that are not known."""
        unknown = [number for number in sorted(places) if number not in results]
        for number in unknown[:25]:
            if (found := result(gateways[number % 2], places[number])) is not None:
                results[number] = found
        return len(results)

    with ThreadPoolExecutor(8) as callers:
        submitting = [
            callers.submit(lambda number: places.update({number: submit(turns[number % 2], number, 0.02)}), number)
            for number in range(500)
        ]
        for number, victim in enumerate((*gateways, *gateways)):
            eventually(lambda at_least=(number + 1) * 60: collect() >= at_least, explain=victim.log)
            victim.kill()
            victim.start()
        for one in submitting:
            one.result()
    eventually(lambda: collect() == 500, 120, explain=gateways[0].log)
    assert {number: found["asked"] for number, found in results.items()} == {number: number for number in range(500)}
    assert len({found["computed"] for found in results.values()}) == 500
    for number, place in places.items():
        assert [result(gateway, place) for gateway in gateways] == [results[number]] * 2
    assert len(set(places.values())) == 500


@pytest.mark.journey
def test_the_late_answer_of_a_gateway_that_was_frozen_is_refused(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    frozen, living = gateways
    places = [submit(itertools.repeat(frozen), number, 0.5) for number in range(8)]
    frozen.freeze()
    found = [eventually(lambda place=place: result(living, place), explain=living.log) for place in places]
    assert [one["asked"] for one in found] == list(range(8))
    frozen.thaw()
    eventually(lambda: counted(frozen, "refused") >= 1, explain=frozen.log)
    assert counted(frozen, "done") == 0
    for gateway in gateways:
        assert [result(gateway, place) for place in places] == found


@pytest.mark.journey
def test_a_gateway_that_was_killed_and_is_started_again_goes_on_with_what_it_had(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    alone, other = gateways
    other.kill()
    places = [submit(itertools.repeat(alone), number, 0.2) for number in range(20)]
    alone.kill()
    alone.start()
    found = [eventually(lambda place=place: result(alone, place), explain=alone.log) for place in places]
    assert [one["asked"] for one in found] == list(range(20))


@pytest.mark.journey
def test_a_model_server_that_is_killed_loses_nothing(gateways: tuple[GatewayProcess, GatewayProcess]) -> None:
    turns = itertools.cycle(gateways)
    pid = predict(gateways[0], 0).json()["pid"]
    places = [submit(turns, number, 0.1) for number in range(40)]
    eventually(lambda: result(gateways[0], places[3]))
    os.kill(pid, signal.SIGKILL)
    found = [eventually(lambda place=place: result(gateways[0], place), explain=gateways[0].log) for place in places]
    assert [one["asked"] for one in found] == list(range(40))
    assert {one["pid"] for one in found} > {pid}


@pytest.mark.journey
def test_what_is_asked_of_a_sleeping_deployment_wakes_it_and_is_answered_though_a_gateway_is_killed(
    gateways: tuple[GatewayProcess, GatewayProcess],
) -> None:
    first, second = gateways
    deploy(first, "asleep", minReplicas=0, idleSeconds=1)
    eventually(lambda: status(first, "asleep")["status"] == "Ready", explain=first.log)
    eventually(lambda: status(second, "asleep")["status"] == "Asleep", explain=second.log)
    places = [submit(itertools.cycle(gateways), number, 0, "asleep") for number in range(20)]
    second.kill()
    found = [eventually(lambda place=place: result(first, place), explain=first.log) for place in places]
    assert [one["asked"] for one in found] == list(range(20))
    assert status(first, "asleep")["wakes"] >= 1  # it may have gone to sleep again meanwhile


def status(gateway: GatewayProcess, task_id: str) -> Any:
    return gateway.client.get(f"/api/v1/inference/deployments/{task_id}/status").json()
