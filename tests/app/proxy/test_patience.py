"""Who waits for whom, and how long: deadlines, clients that leave, and flow control both ways."""

from __future__ import annotations

import asyncio
import http.client

import pytest

from app.proxy.exchange import WHOLE
from tests.app.proxy.gateway import gateway, request_bytes, stands_still, until
from tests.app.proxy.upstreams import (
    OK,
    AnswersTheHead,
    AnswersWhenReleased,
    NeverReads,
    NeverStopsSending,
    StopsInTheMiddle,
    TakesItsTime,
    Upstream,
)

MUCH = 40_000_000  # bytes: more than the buffers of four sockets take, far less than what would be sent


async def test_past_the_deadline_the_answer_is_504_and_the_replica_is_let_go() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream, deadline=0.2) as it:
        reply = await it.post()
        assert (reply.status, reply.problem["code"]) == (504, "deadline-exceeded")
        await until(lambda: upstream.open == 0)
        assert it.counted(504) == 1


async def test_a_body_that_does_not_arrive_in_time_is_408() -> None:
    for sent in (b"hal", b"x" * WHOLE):
        async with Upstream() as upstream, gateway(upstream, deadline=0.2) as it:
            reader, writer = await it.dial()
            writer.write(request_bytes(sent, length=WHOLE * 2))
            async with asyncio.timeout(10):
                assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
                assert b'"code":"request-timeout"' in await reader.read()
            writer.close()
            await until(lambda upstream=upstream: upstream.open == 0)  # type: ignore[misc]
        assert upstream.requests == []


async def test_a_replica_that_does_not_read_is_the_one_to_blame_at_the_deadline() -> None:
    async with NeverReads() as upstream, gateway(upstream, deadline=0.3) as it:
        assert (await it.post(b"x" * 30_000_000)).problem["code"] == "deadline-exceeded"
        assert [replica.busy for replica in it.route(upstream).replicas] == [0]


async def test_a_replica_that_does_not_read_holds_the_client_back() -> None:
    async def upload(writer: asyncio.StreamWriter, sent: list[int]) -> None:
        while True:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent.append(100_000)

    async with NeverReads() as upstream, gateway(upstream) as it:
        _, writer = await it.dial()
        writer.write(request_bytes(b"", length=10**9))
        sent: list[int] = []
        sending = asyncio.create_task(upload(writer, sent))
        await stands_still(lambda: len(sent))
        assert 0 < sum(sent) < MUCH
        sending.cancel()
        upstream.leave.set()
        await until(lambda: it.counted(502) == 1)
        writer.transport.abort()


async def test_a_stream_that_goes_on_may_take_longer_than_the_deadline() -> None:
    async with TakesItsTime() as upstream, gateway(upstream, deadline=0.4) as it:
        assert (await it.post()).body == b"piece" * 10


async def test_a_stream_that_pauses_longer_than_the_deadline_is_cut_off() -> None:
    async with StopsInTheMiddle(1 << 20) as upstream, gateway(upstream, deadline=0.2) as it:
        with pytest.raises(http.client.IncompleteRead):
            await it.post()
        assert it.counted(504) == 1


async def test_a_client_that_leaves_ends_its_request_at_the_replica() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        _, writer = await it.dial()
        writer.write(request_bytes(b"x"))
        await until(lambda: len(upstream.requests) == 1)
        writer.close()
        await until(lambda: upstream.open == 0)
        assert it.counted(499) == 1
        upstream.release.set()
        assert (await it.post(b"y")).body == b"y"
    assert upstream.connections == 2


async def test_a_client_that_leaves_during_its_upload_ends_its_request_at_the_replica() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        _, writer = await it.dial()
        writer.write(request_bytes(b"x" * WHOLE, length=WHOLE * 2))
        await until(lambda: upstream.open == 1)
        writer.close()
        await until(lambda: upstream.open == 0)
        assert it.counted(499) == 1
    assert upstream.requests == []


async def test_what_a_client_leaves_unsent_is_not_taken_from_the_next_one() -> None:
    async with AnswersTheHead() as upstream, gateway(upstream, deadline=5) as it:
        _, writer = await it.dial()
        writer.write(request_bytes(b"x" * WHOLE, length=WHOLE * 2))
        await until(lambda: upstream.connections == 1)
        writer.close()
        await until(lambda: it.counted(499) == 1)
        assert (await it.post(b"y" * 100)).body == b"early"


async def test_a_client_that_leaves_during_a_large_answer_stops_it() -> None:
    async with NeverStopsSending(OK + b"\r\n", b"x" * 10_000) as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b""))
        await reader.readexactly(100_000)
        writer.transport.abort()
        await until(lambda: upstream.open == 0)


async def test_a_client_that_does_not_read_holds_the_replica_back() -> None:
    async with NeverStopsSending(OK + b"\r\n", b"x" * 100_000) as upstream, gateway(upstream) as it:
        _, writer = await it.dial()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request_bytes(b""))
        await stands_still(lambda: upstream.sent)
        assert 0 < upstream.sent < MUCH
        writer.transport.abort()
        await until(lambda: upstream.open == 0)
