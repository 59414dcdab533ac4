"""The gateway's side of a client's connection: what comes, whole or in pieces, and what is no request at all."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from app.proxy.server import HEAD_LIMIT
from tests.app.proxy.gateway import PATH, Gateway, gateway, one_reply, request_bytes, until
from tests.app.proxy.upstreams import AnswersWhenReleased, Upstream

H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
LINE = b"POST %b HTTP/1.1\r\nHost: x\r\n" % PATH.encode()


async def said(it: Gateway, *pieces: bytes, pause: float = 0.0) -> bytes:
    """All that the gateway says to these pieces until it closes the connection."""
    reader, writer = await it.dial()
    async with asyncio.timeout(20):
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause)
        everything = await reader.read()
    writer.close()
    return everything


async def test_a_client_gets_head_and_body_in_one_packet() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        for _ in range(2):  # over a new connection to the replica, then over the kept one
            writer.write(request_bytes(b"body"))
            async with asyncio.timeout(10):
                assert (await reader.read(10_000)).endswith(b"\r\n\r\nbody")
        writer.close()


async def test_a_client_that_wants_its_connection_closed_is_told_and_gets_it_closed() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        for _ in range(2):
            answer = await said(it, request_bytes(b"body", b"Connection: close"))
            assert b"\r\nconnection: close\r\n" in answer
            assert answer.endswith(b"\r\n\r\nbody")


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        for body in (b"one", b"two", b"six"):
            writer.write(request_bytes(body))
            reply = await one_reply(reader)
            assert (reply.body, reply.header("connection")) == (body, None)
        writer.close()


@pytest.mark.parametrize("size", [1, 40, 100_000])
async def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    whole = request_bytes(b"y" * 300)
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        for begin in range(0, len(whole), size):
            writer.write(whole[begin : begin + size])
            await asyncio.sleep(0)
        assert (await one_reply(reader)).body == b"y" * 300
        writer.close()


async def test_a_request_to_go_over_to_http_2_is_answered_as_what_it_is_without_it() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b"body", *H2C) + request_bytes(b"more", *H2C) + request_bytes(b"last"))
        assert [(await one_reply(reader)).body for _ in range(3)] == [b"body", b"more", b"last"]
        for piece in (request_bytes(b"", *H2C, length=4), b"bo", b"dy"):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert (await one_reply(reader)).body == b"body"
        writer.write(LINE + b"\r\n".join(H2C) + b"\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
        assert (await one_reply(reader)).body == b"body"
        writer.close()
    names = {name for request in upstream.requests for name, _ in request.headers}
    assert names.isdisjoint({b"upgrade", b"connection", b"http2-settings"})


async def test_trailers_are_no_headers() -> None:
    body = b"4\r\nbody\r\n0\r\nX-Request-ID: forged\r\nAuthorization: x\r\nX-Late: 1\r\n\r\n"
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(LINE + b"X-Request-ID: mine\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        reply = await one_reply(reader)
        assert (reply.body, reply.header("x-request-id")) == (b"body", "mine")
        writer.close()
    assert upstream.requests[0].header(b"x-late") is None


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\nContent-Length: 5\r\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 5\nX: y\r\n",
        b"X: a\rContent-Length: 5\r\n",
        b"X: a\r\n folded\r\nContent-Length: 5\r\n",
        b"X Y: a\r\nContent-Length: 5\r\n",
        b"X: a\x00b\r\nContent-Length: 5\r\n",
    ],
)
async def test_what_two_servers_could_read_differently_is_refused_whole(head: bytes) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        answer = await said(it, LINE + head + b"Connection: close\r\n\r\n0\r\n\r\n" + SMUGGLED)
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"application/problem+json" in answer
        assert (await it.post(b"next")).body == b"next"
    assert [request.body for request in upstream.requests] == [b"next"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT evil:80 HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_400_and_its_connection_closed(nonsense: bytes) -> None:
    async with gateway() as it:
        answer = await said(it, nonsense)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"\r\nconnection: close\r\n" in answer


async def test_what_came_before_nonsense_is_answered_first() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        answering = asyncio.create_task(said(it, request_bytes(b"one") + request_bytes(b"two") + b"\x00\x00"))
        await until(lambda: len(upstream.requests) == 1)
        upstream.release.set()
        answer = await answering
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"two")
    assert b" 400 " not in answer


@pytest.mark.parametrize(
    ("opening", "again"),
    [
        (LINE, b"X-Header: value\r\n"),
        (LINE + b"X-Header: ", b"value" * 100),
        (b"POST /", b"path" * 100),
        (LINE + b"Transfer-Encoding: chunked\r\n\r\n1;ext=", b"x" * 500),
        (LINE + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: ", b"value" * 100),
    ],
)
async def test_a_head_without_end_is_given_up(opening: bytes, again: bytes) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(opening)
        async with asyncio.timeout(20):
            while it.connections and not reader.at_eof():
                writer.write(again)
                await asyncio.sleep(0)
                if writer.transport.is_closing():
                    break
        await until(lambda: not it.connections)
        writer.transport.abort()
        assert (await it.post(b"next")).body == b"next"


async def test_too_large_a_head_is_431() -> None:
    async with gateway() as it:
        assert (await said(it, LINE + b"X: " + b"x" * HEAD_LIMIT)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("drip", [b"", b"POST", LINE])
async def test_a_client_that_owes_a_request_for_too_long_is_let_go(drip: bytes) -> None:
    async with gateway(keep_alive=0.3) as it:
        assert await said(it, *(drip[i : i + 1] for i in range(len(drip))), pause=0.001) == b""


async def test_a_client_that_thinks_between_two_requests_keeps_its_connection() -> None:
    async with Upstream() as upstream, gateway(upstream, keep_alive=1.5) as it:
        reader, writer = await it.dial()
        for _ in range(4):
            await asyncio.sleep(0.5)
            writer.write(request_bytes(b"x"))
            assert (await one_reply(reader)).status == 200
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_shuts_its_side_has_left() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        _, writer = await it.dial()
        writer.write(request_bytes(b"x"))
        await until(lambda: len(upstream.requests) == 1)
        writer.write_eof()
        await until(lambda: not it.connections and upstream.open == 0)
        assert it.counted(499) == 1
        writer.close()


async def test_many_tiny_requests_at_once_on_one_connection_are_not_all_read_at_once() -> None:
    many = request_bytes(b"1") * 12_000
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.transport.set_write_buffer_limits(high=len(many) * 2)
        writer.write(many)
        await until(lambda: len(upstream.requests) == 1)
        upstream.release.set()
        deepest = 0
        for _ in range(12_000):
            assert (await one_reply(reader)).body == b"1"
            deepest = max(deepest, *(len(connection.pipeline) for connection in it.connections))
        writer.close()
    assert 0 < deepest < 5_000, "what waits for its turn is what one read brought"


async def test_memory_stays_flat_over_many_requests_of_one_connection() -> None:
    async def ask(times: int) -> int:
        for _ in range(times):
            writer.write(request_bytes(b"1"))
            await reader.readuntil(b"\r\n\r\n1")
        gc.collect()
        upstream.requests.clear()
        return tracemalloc.get_traced_memory()[0]

    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        tracemalloc.start()
        try:
            before = await ask(300)
            assert await ask(1_500) - before < 300_000, "less than 200 bytes a request: the interpreter keeps some"
        finally:
            tracemalloc.stop()
            writer.close()
