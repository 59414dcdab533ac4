"""The gateway's side of a client's connection: what comes, whole or in pieces, and what is no request at all."""

from __future__ import annotations

import asyncio

from tests.app.proxy.gateway import gateway, request_bytes
from tests.app.proxy.upstreams import Upstream


async def test_a_client_gets_head_and_body_in_one_packet() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b"body"))
        async with asyncio.timeout(10):
            assert (await reader.read(10_000)).endswith(b"\r\n\r\nbody")
        writer.close()


async def test_a_client_that_wants_its_connection_closed_is_told_and_gets_it_closed() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b"body", b"Connection: close"))
        async with asyncio.timeout(10):
            answer = await reader.read()  # to its end
        assert b"\r\nconnection: close\r\n" in answer
        assert answer.endswith(b"\r\n\r\nbody")
        writer.close()


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        for body in (b"one", b"two", b"six"):
            writer.write(request_bytes(body))
            async with asyncio.timeout(10):
                answer = await reader.readuntil(b"\r\n\r\n" + body)
            assert b"connection: close" not in answer
        writer.close()
