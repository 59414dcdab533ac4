"""What goes wrong: replicas that vanish, lie or dawdle, and clients that leave."""

from __future__ import annotations

import asyncio
import http.client
import logging

import pytest

from app.proxy.exchange import WHOLE
from tests.app.proxy.addresses import full_backlog, refused_address
from tests.app.proxy.gateway import PATH, gateway, request_bytes, until
from tests.app.proxy.upstreams import (
    OK,
    AnswersOnceThenBreaksOff,
    AnswersOnceThenIsGone,
    ClosesBeforeAnswering,
    NeverStopsSending,
    RefusesTheHead,
    Resets,
    Sends,
    SpeaksUnasked,
    Upstream,
    answer,
)


async def test_a_failure_is_a_problem_document() -> None:
    async with ClosesBeforeAnswering() as upstream, gateway(upstream) as it:
        reply = await it.post(headers={"X-Request-ID": "mine"})
    assert reply.status == 502
    problem = reply.problem
    assert problem.pop("detail").startswith("The deployment's server went away")
    assert problem == {
        "type": "about:blank", "title": "The model server was lost", "status": 502, "instance": PATH,
        "code": "replica-lost", "requestId": "mine", "retryable": True, "causes": [],
    }  # fmt: skip
    assert reply.header("x-request-id") == "mine"


async def test_a_refused_connection_moves_on_to_another_replica() -> None:
    refused = refused_address()
    async with Upstream() as upstream, gateway(refused, upstream, refused) as it:
        for _ in range(4):
            assert (await it.post(b"x")).body == b"x"
    assert len(upstream.requests) == 4


async def test_without_any_reachable_replica_the_answer_is_502() -> None:
    refused = [refused_address(), refused_address()]
    async with gateway(*refused) as it:
        route = it.route(*refused)
        assert (await it.post()).problem["code"] == "replica-lost"
        assert [replica.busy for replica in route.replicas] == [0, 0]


async def test_a_connection_that_takes_too_long_counts_as_refused() -> None:
    with full_backlog() as deaf:
        async with Upstream() as upstream, gateway(deaf, upstream, connect_timeout=0.05) as it:
            for _ in range(2):
                assert (await it.post(b"x")).body == b"x"
            assert [replica.busy for replica in it.route(deaf, upstream).replicas] == [0, 0]


@pytest.mark.parametrize("rude", [ClosesBeforeAnswering, Resets])
async def test_what_a_fresh_connection_took_is_never_sent_again(rude: type[Upstream]) -> None:
    async with rude() as first, rude() as second, gateway(first, second) as it:
        assert (await it.post()).problem["code"] == "replica-lost"
    assert len(first.requests) + len(second.requests) == 1


async def test_a_kept_connection_that_is_gone_costs_one_more_try_on_a_fresh_one() -> None:
    async with AnswersOnceThenIsGone() as upstream, gateway(upstream) as it:
        for number in range(3):
            assert (await it.post(b"%d" % number)).body == b"%d" % number
    assert upstream.connections == 3
    assert [request.body for request in upstream.requests] == [b"0", b"1", b"1", b"2", b"2"]


async def test_however_many_kept_connections_are_gone_a_request_is_sent_twice_at_most() -> None:
    async with AnswersOnceThenIsGone(together=4) as upstream, gateway(upstream) as it:
        await asyncio.gather(*(it.post(b"warm") for _ in range(4)))
        assert (await it.post(b"cold")).body == b"cold"
    assert [request.body for request in upstream.requests].count(b"cold") == 2


async def test_a_request_that_a_replica_began_to_answer_is_never_sent_again() -> None:
    async with AnswersOnceThenBreaksOff() as first, Upstream() as second, gateway(first) as it:
        await it.post(b"warm")
        it.route(first, second)
        it.route(first)
        assert (await it.post(b"once")).problem["code"] == "replica-lost"
    assert [request.body for request in first.requests] == [b"warm", b"once"]
    assert second.requests == []


async def test_a_streamed_body_never_travels_on_a_kept_connection() -> None:
    body = b"x" * (WHOLE * 3)
    async with AnswersOnceThenIsGone() as upstream, gateway(upstream) as it:
        for _ in range(2):
            assert (await it.post(body)).body == body
    assert [len(request.body) for request in upstream.requests] == [len(body)] * 2


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"X-A: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        OK + b"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        OK + b"X A: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_refused_and_its_connection_closed(said: bytes) -> None:
    async with Sends(said, keep=True) as upstream, gateway(upstream) as it:
        reply = await it.post()
        assert (reply.status, reply.problem["code"]) == (502, "answer-invalid")
        assert not reply.problem["retryable"]
        await until(lambda: upstream.open == 0)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "said", [OK, OK + b"Content-Len", OK + b"Content-Length: 9\r\n\r\nhalf", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_an_answer_that_breaks_off_before_the_client_saw_any_of_it_is_502(said: bytes) -> None:
    async with Sends(said) as upstream, gateway(upstream) as it:
        assert (await it.post()).problem["code"] == "replica-lost"
    assert len(upstream.requests) == 1


async def test_an_answer_that_breaks_off_later_is_cut_short_for_the_client_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for head in (b"Content-Length: 900000", b"Transfer-Encoding: chunked"):
        async with Sends(OK + head + b"\r\n\r\n", b"2\r\nab\r\n" * 20) as upstream, gateway(upstream) as it:
            with pytest.raises(http.client.IncompleteRead):
                await it.post()
            assert it.counted(502) == 1
    assert "Exception" not in caplog.text


async def test_a_second_answer_reaches_nobody() -> None:
    twice = answer(b"first") + answer(b"second")
    async with Sends(twice, keep=True) as upstream, gateway(upstream) as it:
        for _ in range(3):
            assert (await it.post()).body == b"first"
        assert upstream.connections == 3


async def test_the_beginning_of_a_second_answer_reaches_nobody() -> None:
    async with Sends(answer(b"first") + b"HTTP/1.1 200 OK\r\nX-Evil", keep=True) as upstream, gateway(upstream) as it:
        for _ in range(3):
            assert (await it.post()).body == b"first"
        assert upstream.connections == 3


async def test_an_answer_that_nobody_asked_for_closes_the_idle_connection() -> None:
    async with SpeaksUnasked() as upstream, gateway(upstream) as it:
        assert (await it.post(b"one")).body == b"one"
        upstream.speak.set()
        await until(lambda: upstream.open == 0)
        assert (await it.post(b"two")).body == b"two"


@pytest.mark.parametrize(
    ("opening", "again"),
    [
        (OK, b"X-Header: value\r\n"),
        (OK + b"X-Header: ", b"value" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: ", b"value" * 100),
    ],
)
async def test_a_head_without_end_is_given_up(opening: bytes, again: bytes) -> None:
    async with NeverStopsSending(opening, again) as upstream, gateway(upstream) as it:
        try:
            assert (await it.post()).problem["code"] == "answer-invalid"
        except http.client.IncompleteRead:
            assert b"chunked" in opening
        await until(lambda: upstream.open == 0)
        assert it.counted(502) == 1


async def test_an_answer_that_comes_before_the_whole_request_reaches_the_client() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 1000)
            await asyncio.sleep(0.005)

    async with RefusesTheHead() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b"x" * WHOLE, length=WHOLE * 100))
        sending = asyncio.create_task(trickle(writer))
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            await reader.readuntil(b"too large")
        sending.cancel()
        writer.transport.abort()
        await until(lambda: upstream.open == 0)


async def test_a_failure_is_logged_with_its_cause_and_request_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Sends(b"garbage\r\n") as upstream, gateway(upstream) as it:
        await it.post(headers={"X-Request-ID": "traced"})
    (record,) = caplog.records
    assert "traced" in record.getMessage()
    assert str(upstream.address) in record.getMessage()
    assert "answer-invalid" in record.getMessage()
