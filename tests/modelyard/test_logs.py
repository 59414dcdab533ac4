"""Logs: each line once, whatever becomes of the connection."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard import Client, Kind, ModelyardError, NotFound, Unavailable
from tests.fakes.gateway import FakeGateway, Fault

LOG = "first\n\nμ ± σ, data: x\nid: 7\nlast without a line break"
LINES = LOG.split("\n")


@pytest.fixture
def finished(gateway: FakeGateway) -> FakeGateway:
    gateway.add_job("t", "Succeeded")
    gateway.logs["t"] = LOG.encode()
    return gateway


def test_a_log_is_its_lines(client: Client, finished: FakeGateway) -> None:
    assert list(client.logs("t")) == LINES
    assert list(client.logs("t", tail=2)) == LINES[-2:]


def test_a_log_with_nothing_in_it_has_no_lines(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t")
    assert list(client.logs("t")) == []


def test_only_line_feeds_end_lines(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Succeeded")
    gateway.logs["t"] = "a\x0bb\u2028c\x85d\n".encode()
    assert list(client.logs("t")) == ["a\x0bb\u2028c\x85d"]
    assert list(client.logs("t", follow=True)) == ["a\x0bb\u2028c\x85d"]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("lines_per_event", [1, 3])
def test_a_followed_log_survives_a_connection_lost_at_any_byte(
    client: Client, finished: FakeGateway, chunked: bool, lines_per_event: int
) -> None:
    finished.chunked, finished.lines_per_event = chunked, lines_per_event
    list(client.logs("t", Kind.JOB, follow=True))
    whole_stream = finished.streamed[0]
    assert whole_stream > len(LOG)
    for cut in range(whole_stream + 1):
        finished.cuts = deque([cut])
        assert list(client.logs("t", Kind.JOB, follow=True)) == LINES, f"cut after {cut} of {whole_stream} bytes"


@settings(max_examples=30, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=20), min_size=1),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    lines_per_event=st.integers(1, 4),
)
def test_a_followed_log_survives_any_number_of_lost_connections(
    lines: list[str], cuts: list[int], lines_per_event: int
) -> None:
    with FakeGateway() as gateway, Client(gateway.url, sleep=lambda _: None) as client:
        gateway.add_job("t", "Succeeded")
        gateway.logs["t"] = "".join(f"{line}\n" for line in lines).encode()
        gateway.cuts, gateway.lines_per_event = deque(cuts), lines_per_event
        assert list(client.logs("t", Kind.JOB, follow=True)) == lines


def test_a_log_is_followed_while_it_grows(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Running")
    gateway.logs["t"] = b"one\n"
    lines = client.logs("t", follow=True)
    assert next(lines) == "one"
    gateway.logs["t"] += b"two\n"
    assert next(lines) == "two"
    gateway.set_status("t", "Succeeded")
    assert list(lines) == []


def test_resuming_asks_for_what_follows_and_not_for_the_tail_again(client: Client, finished: FakeGateway) -> None:
    finished.cuts.append(50)
    list(client.logs("t", Kind.JOB, follow=True, tail=9, since="10m"))
    first, second = finished.seen
    assert first.query == {"follow": "true", "tail": "9", "since": "10m"}
    assert second.query == {"follow": "true"}
    assert second.headers["last-event-id"] == "6"


def test_lines_that_are_sent_again_are_not_told_again(client: Client, finished: FakeGateway) -> None:
    finished.forgets = True
    finished.cuts.extend([60, 80, 100])
    assert list(client.logs("t", Kind.JOB, follow=True)) == LINES
    assert len(finished.seen) == 4


def test_following_goes_on_when_the_gateway_is_away(client: Client, finished: FakeGateway, pauses: list[float]) -> None:
    finished.cuts.append(50)
    finished.faults.extend([Fault(503, retry_after="3"), Fault(hang_up=True), Fault(502)])
    assert list(client.logs("t", Kind.JOB, follow=True)) == LINES
    assert max(pauses) == 3.0
    assert len(finished.seen) == 5


def test_following_ends_when_the_gateway_stays_away(gateway: FakeGateway, pauses: list[float]) -> None:
    gateway.faults.extend([Fault(502)] * 10_000)
    with Client(gateway.url, sleep=pauses.append, patience=0.05) as client, pytest.raises(Unavailable):
        list(client.logs("t", Kind.JOB, follow=True))


def test_following_what_is_not_there_ends_at_once(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(NotFound):
        list(client.logs("t", Kind.JOB, follow=True))
    assert len(gateway.seen) == 1


def test_a_server_that_knows_no_events_is_reported(client: Client, finished: FakeGateway) -> None:
    finished.speaks_events = False
    with pytest.raises(ModelyardError, match="does not send events"):
        list(client.logs("t", Kind.JOB, follow=True))


def test_a_replica_of_a_deployment_has_a_log_of_its_own(client: Client, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    list(client.logs("d", replica=2))
    assert gateway.seen[-1].query == {"replica": "2"}
