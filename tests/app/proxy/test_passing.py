"""What goes through: bodies byte for byte both ways, statuses, and the headers that may."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.proxy.gateway import PATH, gateway, request_bytes, to
from tests.app.proxy.upstreams import AnswersAtOnceInChunks, AnswersInChunks, Sends, TellsBitByBit, Upstream, answer

SLOW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("path", [PATH, "/inference/iris/predict", PATH + "?verbose=1"])
async def test_a_prediction_goes_to_the_replica_and_its_answer_comes_back(path: str) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reply = await it.post(b'{"a": 1}', path=path)
    assert (reply.status, reply.body) == (200, b'{"a": 1}')
    assert reply.header("content-type") == "application/json"
    assert upstream.requests[0].line == b"POST /predict HTTP/1.1"
    assert upstream.requests[0].header(b"host") == b"%b:%d" % (b"127.0.0.1", upstream.address[1])


@SLOW
@given(body=st.binary(max_size=2000))
async def test_any_body_comes_back_byte_for_byte(body: bytes) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        assert (await it.post(body)).body == body
    assert upstream.requests[0].body == body


@SLOW
@given(pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=6))
async def test_any_chunks_of_a_request_arrive_as_one_body(pieces: list[bytes]) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        assert (await it.post(iter(pieces))).body == b"".join(pieces)


@SLOW
@given(pieces=st.lists(st.binary(min_size=1, max_size=300), max_size=6))
async def test_any_chunks_of_an_answer_arrive_as_one_body(pieces: list[bytes]) -> None:
    async with AnswersInChunks(pieces) as upstream, gateway(upstream) as it:
        assert (await it.post()).body == b"".join(pieces)


@SLOW
@given(data=st.data(), body=st.binary(max_size=300))
async def test_an_answer_may_be_cut_into_packets_anywhere(data: st.DataObject, body: bytes) -> None:
    whole = answer(body, b"X-Model: iris")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    async with Sends(*pieces, keep=True) as upstream, gateway(upstream) as it:
        reply = await it.post()
    assert (reply.body, reply.header("x-model")) == (body, "iris")


@pytest.mark.parametrize("size", [64 << 10, (64 << 10) + 1, 5_000_000])
async def test_large_bodies_pass_both_ways(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with Upstream() as upstream, gateway(upstream) as it:
        reply = await it.post(body)
        in_pieces = await it.post(body[i : i + 100_000] for i in range(0, size, 100_000))
    assert reply.body == body
    assert in_pieces.body == body
    assert upstream.requests[0].header(b"content-length") == b"%d" % size


async def test_a_small_answer_in_chunks_goes_out_whole_with_its_length() -> None:
    async with AnswersAtOnceInChunks(b"abc") as upstream, gateway(upstream) as it:
        reply = await it.post()
        await it.post()
    assert (reply.body, reply.header("content-length")) == (b"abc", "3")
    assert (reply.header("transfer-encoding"), reply.header("x-trailer")) == (None, None)
    assert upstream.connections == 1


async def test_an_answer_may_end_with_its_connection() -> None:
    async with Sends(b"HTTP/1.0 200 OK\r\n\r\nfirst", b" second") as upstream, gateway(upstream) as it:
        assert (await it.post()).body == b"first second"
        assert (await it.post()).body == b"first second"
    assert upstream.connections == 2


@pytest.mark.parametrize("status", [b"201 Created", b"404 Not Found", b"422 Unprocessable", b"500 Oops", b"599 Odd"])
async def test_the_status_of_the_replica_passes_whatever_it_is(status: bytes) -> None:
    async with Sends(answer(b"why", status=status)) as upstream, gateway(upstream) as it:
        reply = await it.post()
    assert (reply.status, reply.body) == (int(status[:3]), b"why")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_keep_the_connection(status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n"
    async with Sends(head, keep=True) as upstream, gateway(upstream) as it:
        for _ in range(2):
            reply = await it.post()
            assert (reply.status, reply.body, reply.header("content-length")) == (int(status[:3]), b"", None)
    assert upstream.connections == 1


async def test_interim_answers_are_skipped() -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX-Not: this\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    async with Sends(*interim, answer(b"final"), keep=True) as upstream, gateway(upstream) as it:
        reply = await it.post()
        assert (reply.status, reply.body) == (200, b"final")
        assert (reply.header("x-not"), reply.header("link")) == (None, None)
        assert (await it.post()).body == b"final"
    assert upstream.connections == 1


async def test_credentials_and_hop_by_hop_headers_do_not_reach_the_replica() -> None:
    sent = {
        "Authorization": "Bearer s", "Cookie": "s=1", "X-API-Key": "s", "Proxy-Authorization": "s", "TE": "trailers",
        "Keep-Alive": "5", "Upgrade": "h2c", "Connection": "close, X-Secret, Content-Length", "X-Secret": "s",
        "Content-Type": "text/csv", "X-Custom": "c", "traceparent": "00-1-2-01", "Accept": "a/b",
    }  # fmt: skip
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post(b"1,2", sent)
    names = {name for name, _ in upstream.requests[0].headers}
    through = {b"content-type", b"x-custom", b"traceparent", b"accept"}
    made_here = {b"host", b"content-length", b"x-request-id", b"x-request-deadline", b"x-request-timeout"}
    assert names == through | made_here | {b"accept-encoding"}
    assert upstream.requests[0].header(b"traceparent") == b"00-1-2-01"


async def test_hop_by_hop_headers_and_cookies_of_the_replica_do_not_reach_the_client() -> None:
    headers = [
        b"Content-Type: text/csv", b"Set-Cookie: s=1", b"Keep-Alive: 5", b"Server: model", b"X-Own: 1", b"X-Own: 2",
        b"Connection: keep-alive, X-Hop", b"X-Hop: 1",
    ]  # fmt: skip
    async with Sends(answer(b"a", *headers), keep=True) as upstream, gateway(upstream) as it:
        reply = await it.post()
    assert [value for name, value in reply.headers if name == "x-own"] == ["1", "2"]
    names = {name.lower() for name, _ in reply.headers} - {"date", "server"}
    assert names == {"content-type", "content-length", "x-own", "x-request-id"}
    assert reply.header("server") != "model"


async def test_the_request_id_of_the_client_is_kept_on_both_sides() -> None:
    async with Sends(answer(b"", b"X-Request-ID: other")) as upstream, gateway(upstream) as it:
        reply = await it.post(headers={"X-Request-ID": "My.id_1-2"})
    assert reply.header("x-request-id") == "My.id_1-2"
    assert upstream.requests[0].header(b"x-request-id") == b"My.id_1-2"


@pytest.mark.parametrize("offered", [None, "", "with space", "a" * 129, "semi;colon", "ünder"])
async def test_without_a_usable_request_id_a_new_one_is_made(offered: str | None) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        headers = {} if offered is None else {"X-Request-ID": offered}
        ids = [(await it.post(headers=headers)).header("x-request-id") for _ in range(2)]
    assert ids[0] != ids[1]
    assert offered not in ids
    assert [request.header(b"x-request-id") for request in upstream.requests] == [str(i).encode() for i in ids]


async def test_events_reach_the_client_as_they_are_told() -> None:
    async with TellsBitByBit() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        for _ in range(2):  # over a new connection to the replica, then over the kept one
            writer.write(request_bytes(b"x"))
            async with asyncio.timeout(10):
                assert b"content-type: text/event-stream\r\n" in await reader.readuntil(b"\r\n\r\n")
                for event in (b"data: 1\n\n", b"data: 2\n\n"):
                    upstream.events.put_nowait(event)
                    assert await reader.readuntil(event)
                    await reader.readexactly(2)
                upstream.events.put_nowait(None)
                await reader.readuntil(b"0\r\n\r\n")
        writer.close()
    assert upstream.connections == 1


async def test_a_client_that_expects_100_continue_gets_it() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(request_bytes(b"", b"Expect: 100-continue", b"Connection: close", length=4))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"body")
        assert (await reader.read()).endswith(b"\r\n\r\nbody")
        writer.close()
    assert upstream.requests[0].header(b"expect") is None


async def test_requests_of_one_connection_are_answered_in_turn() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(b"".join(request_bytes(b"body%d" % i) for i in range(5)))
        for i in range(5):
            async with asyncio.timeout(10):
                await reader.readuntil(b"\r\n\r\n")
                assert await reader.readexactly(5) == b"body%d" % i
        writer.close()
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("PUT", PATH),
        ("POST", "/api/v1/inference/unknown/predict"),
        ("POST", "/api/v1/inference/asleep/predict"),
        ("POST", "/api/v1/inference/iris/predict/"),
        ("POST", "/api/v1/inference/iris"),
        ("POST", "/inference/predict"),
        ("POST", "/iris/predict"),
    ],
)
async def test_all_else_falls_through(method: str, path: str) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        it.routes.update({"iris": to(upstream.address), "asleep": to()})
        reply = await it.post(method=method, path=path)
    assert reply.body == f"{method} {path} fell through".encode()
    assert upstream.connections == 0


async def test_scopes_that_are_no_requests_fall_through() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        for kind in ("lifespan", "websocket"):
            with pytest.raises(KeyError, match="method"):  # the app behind was reached, and knows only requests
                await it.app({"type": kind, "path": PATH}, None, None)  # type: ignore[arg-type]


async def test_a_root_path_is_not_part_of_the_route() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        sent = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"x"}

        async def send(message: object) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/ml" + PATH, "root_path": "/ml", "headers": []}
        await it.app(scope, receive, send)
    assert sent[1] == {"type": "http.response.body", "body": b"x", "more_body": False}
