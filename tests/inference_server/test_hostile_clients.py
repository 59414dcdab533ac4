"""Clients that are slow, greedy, broken or malicious: they are refused or dropped, and do no harm to others."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_server.app import InferenceApp
from inference_server.messages import Answer, Request, Route
from inference_server.predicting import Predictor
from inference_server.reading import Bounds
from inference_server.worker import Worker
from tests.inference_server.answering import Echo, batcher_of, client, listening

GOOD = b'{"data": [1, 2]}'


def asking(body: bytes = GOOD, *headers: str, target: str = "POST /predict") -> bytes:
    lines = (f"{target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Wire:
    """A raw connection; `said` is all that the server said until it closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def said(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), 30)

    async def answer(self) -> tuple[int, Any]:
        """Status and JSON of the next answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split()[1]), json.loads(await asyncio.wait_for(self.reader.readexactly(length), 30))

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 30) == b""


@asynccontextmanager
async def wires(
    model: Echo | None = None, bounds: Bounds | None = None, routes: tuple[Route, ...] = (), cost: float = 0.0001
) -> AsyncIterator[Any]:
    """A function that opens a connection to a server with these bounds."""
    predictor = Predictor(batcher_of(model or Echo(), seconds_a_call=cost), Worker("reader"))
    app = InferenceApp(model or Echo(), predictor, routes)  # type: ignore[arg-type]
    opened: list[Wire] = []

    async with listening(app, bounds) as address:

        async def connect() -> Wire:
            host, _, port = address.rpartition(":")
            opened.append(Wire(*await asyncio.open_connection(host, int(port))))
            return opened[-1]

        try:
            yield connect
        finally:
            for wire in opened:
                wire.writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /predict HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /predict HTTP/1.1\nHost: x\n\n",
        b"POST /pr\xffdict HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(12),
)
async def test_what_could_be_read_in_two_ways_or_in_none_is_400_and_the_connection_ends(request_bytes: bytes) -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(request_bytes + b"GET /health/live HTTP/1.1\r\nHost: smuggled\r\n\r\n")
        status, problem = await wire.answer()
        assert (status, problem["code"]) == (400, "request-unreadable")
        assert await wire.is_closed()


async def test_an_upgrade_is_not_spoken_and_the_request_is_answered_as_it_is_unless_it_has_a_body() -> None:
    async with wires() as connect:
        for request, status in ((b"GET /health/live", 200), (b"POST /predict", 400)):
            wire = await connect()
            body = b"Content-Length: 2\r\n\r\n{}" if status == 400 else b"\r\nPRI * HTTP/2.0"
            await wire.say(request + b" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + body)
            assert (await wire.answer())[0] == status
            assert await wire.is_closed()


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(b"".join(asking(b'{"data": %d}' % number) for number in range(3000)))
        for number in range(3000):
            assert await wire.answer() == (200, {"predictions": [number]})


async def test_behind_a_bad_request_nothing_is_answered_and_before_it_all_is() -> None:
    async with wires(cost=1) as connect:
        wire = await connect()
        await wire.say(asking() + asking() + b"nonsense\r\n\r\n" + asking())
        statuses = [(await wire.answer())[0] for _ in range(3)]
        assert statuses == [200, 200, 400]
        assert await wire.is_closed()


async def test_a_client_that_wants_to_close_after_its_request_is_closed() -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(asking(GOOD, "Connection: close"))
        said = await wire.said()
        assert said.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in said


async def test_http_1_0_is_answered_and_closed() -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert (await wire.said()).endswith(b'{"status":"live"}')


async def test_head_is_answered_without_a_body() -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(asking(b"", "Connection: close", target="HEAD /health/live"))
        said = await wire.said()
        assert b"content-length: 17\r\n" in said
        assert said.endswith(b"\r\n\r\n")


async def test_a_client_that_asks_whether_its_body_may_come_is_told() -> None:
    async with wires(bounds=Bounds(body_bytes=100)) as connect:
        wire = await connect()
        await wire.say(asking(GOOD, "Expect: 100-continue")[: -len(GOOD)])
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.say(GOOD)
        assert (await wire.answer())[0] == 200
        await wire.say(asking(b" " * 101, "Expect: 100-continue")[:-101])
        assert (await wire.answer())[0] == 413


async def test_a_body_that_is_too_large_is_refused_before_it_comes_and_the_client_gets_to_see_it() -> None:
    async with wires(bounds=Bounds(body_bytes=1 << 20)) as connect:
        wire = await connect()
        await wire.say(asking(b"1" * (3 << 20)))
        status, problem = await wire.answer()
        assert (status, problem["code"]) == (413, "body-too-large")
        assert await wire.is_closed()


async def test_who_goes_on_sending_after_a_refusal_is_cut_off() -> None:
    async with wires(bounds=Bounds(body_bytes=1 << 16, dropped_bodies=2, farewell_seconds=60)) as connect:
        wire = await connect()
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                await wire.say(asking(b"1" * (1 << 17)))


async def test_headers_without_end_are_431() -> None:
    async with wires() as connect:
        wire = await connect()
        await wire.say(b"GET /health/live HTTP/1.1\r\n")
        for number in range(100):
            await wire.say(f"X-{number}: {'x' * 4000}\r\n".encode())
            await asyncio.sleep(0)
        status, problem = await wire.answer()
        assert (status, problem["code"]) == (431, "head-too-large")


@pytest.mark.parametrize("part", [b"POST /predict HTTP/1.1\r\nHost: x\r\n", asking()[:-1]], ids=["head", "body"])
async def test_who_drips_is_408_and_neighbours_are_answered_meanwhile(part: bytes) -> None:
    bounds = Bounds(head_seconds=0.5, body_seconds=0.5, slowest_bytes_per_second=1000)
    async with wires(bounds=bounds) as connect:
        wire, neighbour = await connect(), await connect()
        await wire.say(part)
        answer = asyncio.create_task(wire.answer())
        while not answer.done():
            await neighbour.say(asking())
            assert (await neighbour.answer())[0] == 200
        status, problem = answer.result()
        assert (status, problem["code"]) == (408, "request-too-slow")
        assert await wire.is_closed()


async def test_a_connection_that_is_idle_for_long_is_closed_without_a_word() -> None:
    async with wires(bounds=Bounds(idle_seconds=0.1)) as connect:
        wire = await connect()
        await wire.say(asking())
        assert (await wire.answer())[0] == 200
        assert await wire.said() == b""


async def test_who_does_not_read_its_answers_is_not_answered_further_and_cut_off() -> None:
    answered = 0

    def large(request: Request) -> Answer:
        nonlocal answered
        answered += 1
        return Answer(200, b" " * (1 << 20))

    routes = (Route("GET", "/large", large),)
    async with wires(bounds=Bounds(unread_seconds=0.5), routes=routes) as connect:
        wire = await connect()
        wire.writer.transport.pause_reading()
        await wire.say(asking(b"", target="GET /large") * 200)
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionError):
                while True:
                    await wire.say(b" ")
                    await asyncio.sleep(0.01)
        assert 0 < answered < 30


async def test_a_client_that_is_gone_is_not_computed_and_its_neighbours_are() -> None:
    started, go_on = threading.Event(), threading.Event()

    def work(rows: Any) -> None:
        started.set()
        assert go_on.wait(30)

    model = Echo(work)
    async with wires(model, cost=1) as connect:
        first, gone, half, stays = [await connect() for _ in range(4)]
        await first.say(asking(b'{"data": ["first"]}'))
        assert await asyncio.to_thread(started.wait, 30)
        await gone.say(asking(b'{"data": ["gone"]}'))
        await half.say(asking(b'{"data": ["half"]}'))
        await stays.say(asking(b'{"data": ["stays"]}'))
        gone.writer.close()
        half.writer.write_eof()
        assert await half.is_closed()
        await asyncio.sleep(0.05)
        go_on.set()
        assert await first.answer() == (200, {"predictions": ["first"]})
        assert await stays.answer() == (200, {"predictions": ["stays"]})
    assert model.batches == [["first"], ["stays"]]


async def test_a_half_sent_request_whose_client_ends_is_dropped() -> None:
    model = Echo()
    async with wires(model) as connect:
        wire, neighbour = await connect(), await connect()
        await wire.say(asking()[:-3])
        wire.writer.write_eof()
        assert await wire.is_closed()
        await neighbour.say(asking())
        assert (await neighbour.answer())[0] == 200
    assert model.batches == [[1, 2]]


async def test_a_bad_row_is_422_for_its_sender_alone() -> None:
    class Picky(Echo):
        def predict(self, rows: Any) -> Any:
            outputs = super().predict(rows)
            if "bad" in rows:
                raise ValueError("bad")
            return outputs

    async with client(Picky()) as http:
        bodies = [b'{"data": ["bad"]}' if number == 5 else b'{"data": [%d]}' % number for number in range(12)]
        got = await asyncio.gather(*(http.post("/predict", content=body) for body in bodies))
        assert [answer.status_code for answer in got] == [500 if number == 5 else 200 for number in range(12)]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X-Request-Timeout": "0"}, 504),
        ({"X-Request-Timeout": "-3"}, 504),
        ({"X-Request-Timeout": "60"}, 200),
        ({"X-Request-Deadline": "1"}, 504),
        ({"X-Request-Deadline": str(time.time() + 600)}, 200),
        ({"X-Request-Timeout": "60", "X-Request-Deadline": "1"}, 200),
        ({"X-Request-Timeout": "nan"}, 200),
        ({"X-Request-Timeout": "soon"}, 200),
    ],
)
async def test_what_is_overdue_is_504_and_the_remaining_seconds_count_before_the_clock(
    headers: dict[str, str], status: int
) -> None:
    model = Echo()
    async with client(model) as http:
        got = await http.post("/predict", content=GOOD, headers=headers)
    assert got.status_code == status
    assert bool(model.batches) == (status == 200)
    assert status == 200 or got.json()["code"] == "deadline-passed"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_coded_body_is_415_so_that_no_bomb_goes_off(coding: str) -> None:
    async with client(Echo()) as http:
        bomb = gzip.compress(b"0" * 10_000_000)
        got = await http.post("/predict", content=bomb, headers={"Content-Encoding": coding})
        assert (got.status_code, got.json()["code"]) == (415, "media-type-unknown")
        assert got.json()["detail"] == f"The body is coded as {coding}; send it as it is."
        plain = await http.post("/predict", content=GOOD, headers={"Content-Encoding": "identity"})
        assert plain.status_code == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.api+json", 200),
        ("text/csv", 415),
        ("application/x-www-form-urlencoded", 200),
        ("jsonish", 415),
    ],
)
async def test_a_body_that_says_it_is_no_json_is_415(kind: str, status: int) -> None:
    async with client(Echo()) as http:
        got = await http.post("/predict", content=GOOD, headers={"Content-Type": kind})
    assert got.status_code == status
    assert status == 200 or got.json()["detail"] == f"The body is {kind}; /predict reads application/json."


async def test_a_streamed_answer_comes_piece_by_piece_and_ends_whole() -> None:
    more = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await more.wait()
        yield b"data: 2\n\n"

    routes = (Route("GET", "/stream/{name}", lambda request: Answer(200, pieces(), "text/event-stream")),)
    async with client(Echo(), routes=routes) as http, http.stream("GET", "/stream/a") as got:
        seen = []
        async for piece in got.aiter_bytes():
            seen.append(piece)
            more.set()
    assert seen == [b"data: 1\n\n", b"data: 2\n\n"]
    assert got.headers["content-type"] == "text/event-stream"


async def test_a_streamed_answer_that_fails_is_cut_off_before_its_end(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("step")

    async with wires(routes=(Route("GET", "/stream", lambda request: Answer(200, pieces())),)) as connect:
        wire = await connect()
        await wire.say(asking(b"", target="GET /stream"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await asyncio.wait_for(wire.reader.readuntil(b"0\r\n\r\n"), 30)
    assert "A streamed answer was cut off." in caplog.text


async def test_when_its_client_goes_a_stream_is_closed() -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"more"
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    async with wires(routes=(Route("GET", "/stream", lambda request: Answer(200, pieces())),)) as connect:
        wire = await connect()
        await wire.say(asking(b"", target="GET /stream"))
        await wire.reader.readuntil(b"more")
        wire.writer.close()
        await asyncio.wait_for(closed.wait(), 30)


async def test_a_route_answers_in_the_words_of_its_protocol_and_finds_the_names_in_its_path() -> None:
    async def respond(request: Request) -> Answer:
        if request.named["model"] == "none":
            raise KeyError("model")
        return Answer.json(200, {"named": request.named, "query": request.query})

    route = Route(
        "POST",
        "/v2/models/{model}/infer",
        respond,
        lambda problem, request_id: Answer.json(problem.status, {"error": problem.detail}),
    )
    async with client(Echo(), routes=(route,)) as http:
        found = await http.post("/v2/models/a%20b/infer?x=1", content=b"{}")
        failed = await http.post("/v2/models/none/infer", content=b"{}")
        missing = await http.post("/v2/models/a/b/infer", content=b"{}")
        wrong = await http.get("/v2/models/a/infer")
    assert found.json() == {"named": {"model": "a b"}, "query": "x=1"}
    assert (failed.status_code, list(failed.json())) == (500, ["error"])
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


@settings(deadline=None, max_examples=60)
@given(pieces=st.lists(st.binary(max_size=80) | st.sampled_from([asking(), asking()[:30], b"\r\n\r\n", b"0\r\n\r\n"])))
def test_no_bytes_make_the_server_fail_or_keep_what_was_held(pieces: list[bytes]) -> None:
    async def check() -> None:
        predictor = Predictor(batcher_of(Echo(), seconds_a_call=0.0001), Worker("reader"))
        app = InferenceApp(Echo(), predictor)  # type: ignore[arg-type]
        async with listening(app) as address:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            for piece in pieces:
                writer.write(piece)
            writer.write_eof()
            said = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            assert not said or said.startswith(b"HTTP/1.1 ")
            with socket.create_connection((host, int(port)), timeout=5):
                pass

    asyncio.run(check())
