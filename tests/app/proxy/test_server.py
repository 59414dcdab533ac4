"""The gateway's side of a client's connection: an answer is one write, and nothing is lost or put out of order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from app.proxy.server import MANY, SMALL, WHOLE_ANSWER, Cork, HttpProtocol, WholeAnswer
from tests.app.proxy.gateway import gateway, request_bytes
from tests.app.proxy.upstreams import Upstream


class Recorder(asyncio.Transport):
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def resume_reading(self) -> None:
        pass


async def never(scope: Any, receive: Any, send: Any) -> None:
    """An app that leaves the answering to its test."""


def cork() -> tuple[Cork, Recorder]:
    recorder = Recorder()
    return Cork(recorder, asyncio.get_running_loop()), recorder


async def test_what_is_written_in_one_round_goes_out_together_in_the_next() -> None:
    corked, recorder = cork()
    corked.write(b"head")
    corked.write(bytearray(b"body"))
    assert recorder.done == []
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody"]
    corked.writelines([b"more", b"over"])
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody", b"moreover"]


async def test_what_is_held_goes_out_before_the_connection_closes() -> None:
    corked, recorder = cork()
    corked.write(b"last")
    corked.close()
    await asyncio.sleep(0)
    assert recorder.done == [b"last", "close"]


async def test_what_is_held_is_dropped_with_an_aborted_connection() -> None:
    corked, recorder = cork()
    corked.write(b"never")
    corked.abort()
    await asyncio.sleep(0)
    assert recorder.done == ["abort"]


async def test_a_large_piece_takes_what_is_held_along_and_waits_for_nothing() -> None:
    corked, recorder = cork()
    corked.write(b"head")
    corked.write(b"x" * (SMALL + 1))
    assert recorder.done == [b"head" + b"x" * (SMALL + 1)]


async def test_who_writes_without_a_pause_is_not_held_for_ever() -> None:
    corked, recorder = cork()
    for _ in range(10 * MANY):
        corked.write(b"x")
    assert sum(map(len, recorder.done)) >= 9 * MANY


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


async def test_an_answer_goes_out_in_one_call_unless_the_client_reads_too_slowly() -> None:
    config = uvicorn.Config(never, http=HttpProtocol, ws="none", log_config=None)
    protocol = HttpProtocol(config, ServerState(), {}, asyncio.get_running_loop())
    recorder = Recorder()
    protocol.connection_made(recorder)
    protocol.data_received(request_bytes(b"body"))
    answer = cast(WholeAnswer, protocol.scope["extensions"][WHOLE_ANSWER])
    protocol.pause_writing()
    assert not answer(200, [(b"content-length", b"2")], b"ok")
    assert recorder.done == []
    protocol.resume_writing()
    assert answer(200, [(b"content-length", b"2")], b"ok")
    assert recorder.done == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
    assert not answer(200, [(b"content-length", b"2")], b"ok"), "answered twice"
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)
