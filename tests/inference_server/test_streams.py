"""Streams over a real socket, of a model that writes what a test tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx2
import pytest

from inference_server.protocols import streams
from tests.inference_server.answering import client
from tests.inference_server.writer import ASKED, STREAMED, Writer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.005)


def told(text: str) -> list[dict[str, str]]:
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.strip().split("\n\n")]


async def test_each_piece_is_sent_when_it_is_written() -> None:
    model = Writer()
    model.go.clear()
    async with client(model) as http, http.stream("POST", "/predict", json=STREAMED) as got:
        pieces = got.aiter_text()
        assert (got.status_code, got.headers["content-type"]) == (200, "text/event-stream")
        first = await anext(pieces)
        assert json.loads(told(first)[0]["data"]) == {"index": 0, "text": "a"}
        model.go.set()
        rest = "".join([piece async for piece in pieces])
    assert told(rest)[-1] == {"event": "done", "data": '{"predictions":["aaa"]}'}


@pytest.mark.parametrize("path", ["/predict", "/openai/v1/completions"])
async def test_a_client_that_goes_away_stops_the_writing(path: str) -> None:
    model = Writer(length=100_000)
    async with client(model) as http:
        async with http.stream("POST", path, json=STREAMED if path == "/predict" else ASKED) as got:
            await anext(got.aiter_text())
        await until(lambda: model.closed == 1)
        assert 0 < model.steps < model.length


async def test_predictions_and_streams_take_turns() -> None:
    model = Writer(length=100_000)
    async with client(model) as http, http.stream("POST", "/predict", json=STREAMED) as got:
        pieces = got.aiter_text()
        for _ in range(3):
            await anext(pieces)
            other = await http.post("/v1/models/echo:predict", json={"instances": ["y"]})
            assert other.status_code == 200
        assert model.closed == 0


async def test_a_model_that_fails_at_first_is_500_and_later_an_event() -> None:
    async with client(Writer(error=ValueError("secret"))) as http:
        got = await http.post("/predict", json=STREAMED)
        assert got.status_code == 200
        last = told(got.text)[-1]
        assert (last["event"], json.loads(last["data"])["code"]) == ("error", "model-failed")
        assert "secret" not in got.text
        chunks = told((await http.post("/openai/v1/completions", json=ASKED)).text)
        assert json.loads(chunks[-1]["data"])["error"]["type"] == "server_error"
        whole = await http.post("/openai/v1/completions", json={**ASKED, "stream": False})
        assert (whole.status_code, whole.json()["error"]["code"]) == (500, "model_failed")


async def test_more_streams_than_are_allowed_are_told_to_come_again() -> None:
    model = Writer(length=100_000)
    async with client(model) as http:
        opened: list[httpx2.Response] = []
        for _ in range(streams.MOST_STREAMS):
            request = http.build_request("POST", "/predict", json=STREAMED)
            opened.append(await http.send(request, stream=True))
        assert {got.status_code for got in opened} == {200}
        refused = await http.post("/openai/v1/completions", json=ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        await opened.pop().aclose()
        await until(lambda: model.closed == 1)
        opened.append(await http.send(http.build_request("POST", "/predict", json=STREAMED), stream=True))
        assert opened[-1].status_code == 200
        for got in opened:
            await got.aclose()
