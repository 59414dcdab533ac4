"""The SDK's and the command line's predictions that are answered later."""

from __future__ import annotations

import json
from collections import deque

import pytest
from typer.testing import CliRunner

from modelyard import Client, Invalid, NotFound, TimedOut, Unavailable
from modelyard.cli.main import app
from tests.fakes.gateway import FakeGateway, Fault

DEADLINE = {"code": "deadline-exceeded", "detail": "It had no answer when its time was over."}


@pytest.fixture(autouse=True)
def deployment(gateway: FakeGateway) -> None:
    gateway.add_deployment("d")


def test_a_prediction_is_kept_and_its_result_is_waited_for(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    prediction = client.predict_async("d", features=[[1, 2]])
    assert (prediction.id, prediction.ahead, prediction.estimate_seconds) == ("id-0", 2, 1.5)
    assert not prediction.is_done
    assert client.result(prediction.id) == {"predictions": [3]}
    assert len(pauses) == 1
    [asked] = gateway.requests("POST")
    assert {name.lower(): value for name, value in asked.headers.items()}["prefer"] == "respond-async, wait=0"


def test_an_answer_within_the_wait_needs_no_second_question(client: Client, gateway: FakeGateway) -> None:
    assert client.predict("d", features=[[1, 2]], wait=5) == {"predictions": [3]}
    assert gateway.requests("GET") == []
    assert client.predict_async("d", features=[[1, 2]], wait=5).is_done


def test_predict_with_a_wait_goes_on_asking(client: Client, gateway: FakeGateway) -> None:
    assert client.predict("d", features=[[1, 2]], wait=0) == {"predictions": [3]}
    assert len(gateway.requests("GET")) == 2


def test_a_submit_is_sent_again_under_the_same_key(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.extend([Fault(hang_up=True, carried_out=True), Fault(503)])
    client.predict_async("d", features=[[1, 2]])
    keys = [
        {name.lower(): value for name, value in seen.headers.items()}["idempotency-key"]
        for seen in gateway.requests("POST")
    ]
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize(("status", "error"), [(422, Invalid), (503, Unavailable), (504, TimedOut), (404, NotFound)])
def test_a_failure_is_raised_as_it_was_recorded_and_not_asked_for_again(
    client: Client, gateway: FakeGateway, pauses: list[float], status: int, error: type[Exception]
) -> None:
    gateway.results["x"] = deque([(status, DEADLINE)])
    with pytest.raises(error, match="when its time was over"):
        client.result("x")
    assert len(gateway.requests("GET")) == 1
    assert pauses == []


def test_a_gateway_that_is_away_for_a_while_is_waited_for(client: Client, gateway: FakeGateway) -> None:
    id = client.predict_async("d", features=[[1, 2]]).id
    gateway.faults.extend([Fault(503), Fault(hang_up=True), Fault(502)])
    assert client.result(id) == {"predictions": [3]}


def test_without_patience_it_is_late(client: Client, gateway: FakeGateway) -> None:
    gateway.results["x"] = deque([(202, {"id": "x"})])
    with pytest.raises(TimedOut, match="yard result x --wait"):
        client.result("x", timeout=0)
    assert len(gateway.requests("GET")) == 1


def test_the_command_line_prints_an_id_and_later_the_answer(gateway: FakeGateway) -> None:
    run = CliRunner()
    asked = run.invoke(app, ["--url", gateway.url, "predict", "d", "--features", "[[1, 2]]", "--async"])
    assert (asked.exit_code, asked.stdout) == (0, "id-0\n")
    early = run.invoke(app, ["--url", gateway.url, "result", "id-0"])
    assert (early.exit_code, early.stdout) == (4, "")
    found = run.invoke(app, ["--url", gateway.url, "result", "id-0", "--wait"])
    assert (found.exit_code, json.loads(found.stdout)) == (0, {"predictions": [3]})
    unknown = run.invoke(app, ["--url", gateway.url, "result", "nobody"])
    assert unknown.exit_code == 3
    as_json = run.invoke(app, ["--url", gateway.url, "predict", "d", "--features", "[[1]]", "--async", "-o", "json"])
    assert json.loads(as_json.stdout)["status"] == "Pending"
