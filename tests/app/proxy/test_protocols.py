"""Other protocols than the platform's own pass the gateway: method, path, query and body as they are."""

from __future__ import annotations

import json

import pytest

from tests.app.proxy.gateway import gateway
from tests.app.proxy.upstreams import AnswersInChunks, ClosesBeforeAnswering, Sends, TakesItsTime, Upstream, answer

BASE = "/api/v1/inference/iris"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/houses?verbose=1&x=%20y"),
        ("POST", "/v2/models/houses/infer"),
        ("POST", "/v1/models/houses:predict?x"),
        ("POST", "/invocations"),
        ("POST", "/openai/v1/chat/completions"),
    ],
)
async def test_a_protocols_request_reaches_the_replica_as_it_was_sent(method: str, path: str) -> None:
    body = bytes(range(256)) if method == "POST" else b""
    async with Upstream() as upstream, gateway(upstream) as it:
        for base in (BASE, "/inference/iris"):
            reply = await it.post(body, {"Inference-Header-Content-Length": "7"}, base + path, method)
            assert (reply.status, reply.body) == (200, body)
    for request in upstream.requests:
        assert request.line == f"{method} {path} HTTP/1.1".encode()
        assert (request.body, request.header(b"inference-header-content-length")) == (body, b"7")
    assert len(upstream.requests) == 2
    assert upstream.connections == 1


async def test_predict_goes_on_without_its_query() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post(path=f"{BASE}/predict?x=1")
    assert upstream.requests[0].line == b"POST /predict HTTP/1.1"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/model"),
        ("GET", "/health/live"),
        ("GET", "/predict"),
        ("GET", "/v2/..%2fmodel"),
        ("GET", "/v2/models/%2e%2e/%2e%2e/model"),
        ("POST", "/v2/models/a%0d%0aX:%20y/infer"),
        ("PUT", "/v2/models/houses"),
    ],
)
async def test_what_is_the_servers_own_affair_does_not_reach_it(method: str, path: str) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        assert (await it.post(b"", path=BASE + path, method=method)).status == 404
    assert upstream.requests == []


async def test_each_event_reaches_the_client_before_the_next_is_written() -> None:
    async with TakesItsTime() as upstream, gateway(upstream) as it:
        reader, writer = await it.dial()
        writer.write(f"POST {BASE}/openai/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length" not in head.lower()
        pieces = [await reader.readuntil(b"piece") for _ in range(10)]
        assert len(pieces) == 10
        writer.close()


async def test_headers_of_an_event_stream_pass() -> None:
    events = [b'data: {"text": "a"}\n\n', b"data: [DONE]\n\n"]
    async with AnswersInChunks(events) as upstream, gateway(upstream) as it:
        reply = await it.post(path=f"{BASE}/openai/v1/completions")
    assert reply.body == b"".join(events)
    binary = answer(b"xy", b"Content-Type: application/octet-stream", b"Inference-Header-Content-Length: 1")
    async with Sends(binary, keep=True) as upstream, gateway(upstream) as it:
        reply = await it.post(path=f"{BASE}/v2/models/houses/infer")
    assert (reply.header("inference-header-content-length"), reply.body) == ("1", b"xy")
    assert reply.header("content-type") == "application/octet-stream"


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/v2/models/houses/infer", '{"error": "The deployment\'s server went away'),
        ("/openai/v1/completions", '{"error": {"message": "The deployment\'s server went away'),
        ("/invocations", '{"error_code": "INTERNAL_ERROR", "message": "The deployment\'s server went away'),
    ],
)
async def test_a_lost_replica_is_said_in_the_protocols_words(path: str, word: str) -> None:
    async with ClosesBeforeAnswering() as upstream, gateway(upstream) as it:
        reply = await it.post(path=BASE + path)
    assert reply.status == 502
    assert reply.header("content-type") == "application/json"
    assert reply.body.decode().startswith(word)
    json.loads(reply.body)


async def test_requests_of_every_protocol_are_counted() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post(path=f"{BASE}/v2/models/houses/infer")
        await it.post(path=f"{BASE}/invocations")
        assert it.counted(200) == 2
