"""What is sent again, how often and when; and what never is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from modelyard import Client, Invalid, Kind, ModelyardError, NotReady, TimedOut, Unavailable
from tests.fakes.gateway import FakeGateway, Fault

SAFE: dict[str, Callable[[Client], Any]] = {
    "GET": lambda client: client.job("t"),
    "PATCH": lambda client: client.scale("d", 2),
    "POST": lambda client: client.train(model_profile="p", dataset_path="/d"),
}
FEATURES = [[1, 2]]


@pytest.fixture(autouse=True)
def tasks(gateway: FakeGateway) -> None:
    gateway.add_job("t")
    gateway.add_deployment("d")


@pytest.mark.parametrize("method", SAFE)
@pytest.mark.parametrize("fault", [*(Fault(status) for status in (429, 502, 503, 504)), Fault(hang_up=True)], ids=str)
def test_what_is_idempotent_is_sent_again(client: Client, gateway: FakeGateway, method: str, fault: Fault) -> None:
    gateway.faults.extend([fault] * 3)
    SAFE[method](client)
    assert len(gateway.requests(method)) == 4


def test_a_submission_whose_answer_was_lost_is_one_job(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault(hang_up=True, carried_out=True))
    job = client.train(model_profile="p", dataset_path="/d")
    assert [task for task in gateway.jobs if task != "t"] == [job.task_id]
    first, second = gateway.requests("POST")
    assert first.body == second.body


def test_a_deletion_whose_answer_was_lost_is_repeated(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.append(Fault(hang_up=True, carried_out=True))
    client.delete("t", Kind.JOB)
    assert len(gateway.requests("DELETE")) == 2
    assert gateway.jobs["t"]["status"]["status"] == "Cancelled"


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500, 501])
def test_what_would_fail_again_is_not_sent_again(client: Client, gateway: FakeGateway, status: int) -> None:
    gateway.faults.append(Fault(status))
    with pytest.raises(ModelyardError):
        client.job("t")
    assert len(gateway.seen) == 1


def test_repeats_end(gateway: FakeGateway, pauses: list[float]) -> None:
    gateway.faults.extend([Fault(503)] * 9)
    with Client(gateway.url, retries=4, sleep=pauses.append) as client, pytest.raises(Unavailable) as caught:
        client.job("t")
    assert caught.value.detail == "It was made up."
    assert len(gateway.seen) == 5
    assert len(pauses) == 4


def test_pauses_grow_and_differ(client: Client, gateway: FakeGateway, pauses: list[float]) -> None:
    gateway.faults.extend([Fault(503)] * 5)
    client.job("t")
    for attempt, slept in enumerate(pauses):
        assert 0.05 * 2**attempt <= slept <= 0.1 * 2**attempt
    assert len({slept / 2**attempt for attempt, slept in enumerate(pauses)}) == 5


def test_retry_after_in_seconds_is_the_least_pause(client: Client, gateway: FakeGateway, pauses: list[float]) -> None:
    gateway.faults.append(Fault(503, retry_after="7"))
    client.job("t")
    assert pauses == [7.0]


def test_retry_after_may_be_a_date(client: Client, gateway: FakeGateway, pauses: list[float]) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=20)
    gateway.faults.append(Fault(503, retry_after=format_datetime(soon, usegmt=True)))
    client.job("t")
    assert 0 < pauses[0] <= 20


@pytest.mark.parametrize("nonsense", ["", "soon", "-5", "nan", "1e9", "Thu, 99 Nov 2026 99:00:00 GMT"])
def test_a_retry_after_that_says_nothing_changes_nothing(
    client: Client, gateway: FakeGateway, pauses: list[float], nonsense: str
) -> None:
    gateway.faults.append(Fault(503, retry_after=nonsense))
    client.job("t")
    assert pauses[0] <= 0.1


def test_a_gateway_that_asks_for_an_hour_is_reported_not_waited_for(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    gateway.faults.append(Fault(503, retry_after="3600"))
    with pytest.raises(Unavailable) as caught:
        client.job("t")
    assert caught.value.retry_after == 3600
    assert pauses == []


@pytest.mark.parametrize("fault", [Fault(502), Fault(504), Fault(500), Fault(hang_up=True, carried_out=True)], ids=str)
def test_a_prediction_that_may_have_been_made_is_not_asked_for_again(
    client: Client, gateway: FakeGateway, fault: Fault
) -> None:
    gateway.faults.append(fault)
    with pytest.raises(ModelyardError):
        client.predict("d", features=FEATURES)
    assert len(gateway.requests("POST")) == 1


@pytest.mark.parametrize("fault", [Fault(502), Fault(504), Fault(hang_up=True, carried_out=True)], ids=str)
def test_a_prediction_said_to_be_idempotent_is_asked_for_again(
    client: Client, gateway: FakeGateway, fault: Fault
) -> None:
    gateway.faults.append(fault)
    assert client.predict("d", features=FEATURES, idempotent=True) == {"predictions": [3]}
    assert len(gateway.requests("POST")) == 2


def test_a_prediction_that_was_not_made_is_asked_for_again(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    gateway.faults.extend([Fault(503, code="deployment-not-ready", retry_after="2")] * 2)
    assert client.predict("d", features=FEATURES) == {"predictions": [3]}
    assert pauses == [2.0, 2.0]
    assert gateway.predictions == [{"data": {"features": FEATURES}}]


def test_a_deployment_that_stays_unready_is_an_error_of_its_own_within_the_timeout(gateway: FakeGateway) -> None:
    gateway.faults.extend([Fault(503, code="deployment-not-ready")] * 10_000)
    with Client(gateway.url) as client, pytest.raises(NotReady):
        client.predict("d", features=FEATURES, timeout=0.5)
    assert 2 <= len(gateway.seen) < 10, "it is asked again, with growing pauses"


def test_without_a_timeout_a_replica_is_waited_for_a_moment_and_not_a_minute(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    gateway.faults.append(Fault(503, code="deployment-not-ready", retry_after="11"))
    with pytest.raises(NotReady):
        client.predict("d", features=FEATURES)
    assert pauses == []


def test_with_a_timeout_a_replica_is_waited_for_as_long(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    gateway.faults.extend([Fault(503, code="deployment-not-ready", retry_after="11")] * 9)
    assert client.predict("d", features=FEATURES, timeout=60) == {"predictions": [3]}
    assert pauses == [11.0] * 9, "more often than other failures are repeated"


@pytest.mark.parametrize("code", ["deployment-not-ready", "store-unavailable"])
def test_what_the_gateway_calls_hopeless_is_not_sent_again(client: Client, gateway: FakeGateway, code: str) -> None:
    gateway.faults.append(Fault(503, code=code, retryable=False))
    with pytest.raises(ModelyardError) as caught:
        client.predict("d", features=FEATURES, timeout=60)
    assert caught.value.retryable is False
    assert len(gateway.seen) == 1


def test_the_timeout_of_a_prediction_bounds_all_its_repeats(
    client: Client, gateway: FakeGateway, pauses: list[float]
) -> None:
    gateway.faults.append(Fault(503, retry_after="6"))
    with pytest.raises(Unavailable):
        client.predict("d", features=FEATURES, timeout=5)
    assert pauses == []


def test_each_repeat_of_a_prediction_is_told(client: Client, gateway: FakeGateway) -> None:
    gateway.faults.extend([Fault(503, detail="Busy."), Fault(503, code="deployment-not-ready", detail="Starting.")])
    told: list[str] = []
    client.predict("d", features=FEATURES, on_repeat=lambda error: told.append(error.detail))
    assert told == ["Busy.", "Starting."]


def test_a_prediction_nobody_could_receive_is_asked_for_again_and_then_reported(pauses: list[float]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with (
            Client(url, sleep=pauses.append) as client,
            pytest.raises(Unavailable, match="No gateway answers") as caught,
        ):
            client.predict("d", features=FEATURES)
    assert len(pauses) == 5
    assert caught.value.__cause__ is not None


def test_a_gateway_that_says_nothing_is_given_up_after_the_timeout(pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with (
            Client(url, timeout=0.05, sleep=pauses.append) as client,
            pytest.raises(TimedOut, match=r"within 0\.05 sec"),
        ):
            client.job("t")
    assert pauses == []


@pytest.mark.parametrize("features", [[[float("nan")]], [[object()]]])
def test_what_has_no_json_form_is_refused_before_anything_is_sent(
    client: Client, gateway: FakeGateway, features: object
) -> None:
    with pytest.raises(Invalid, match="cannot be written as JSON"):
        client.predict("d", features=features)
    assert gateway.seen == []
