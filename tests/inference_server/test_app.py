"""The HTTP side: every answer and every problem, with a model that does what a test tells it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.batching import Bounds as BatchBounds
from inference_server.batching import RowsMiscounted
from inference_server.families.base import InputUnreadable
from inference_server.model import Phase
from inference_server.reading import Bounds
from tests.inference_server.answering import Echo, client

GOOD = b'{"data": [1, 2]}'


SMALL = Bounds(body_bytes=1000, dropped_bodies=1000)


def raising(error: BaseException) -> Echo:
    def work(rows: Any) -> None:
        raise error

    return Echo(work)


async def test_a_prediction_is_answered_as_json() -> None:
    async with client(Echo()) as http:
        got = await http.post("/predict", content=b'{"userId": "user-1234", "data": {"a": [1]}}')
    assert (got.status_code, got.json()) == (200, {"predictions": [{"a": [1]}]})
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "detail", "pointer"),
    [
        (b"", "The body is not JSON", ""),
        (b"{", "The body is not JSON", ""),
        (b"\xff\xfe", "The body is not JSON", ""),
        (b'{"data": NaN}', "NaN and Infinity are not JSON; send null for a missing value.", ""),
        (b'{"data": -Infinity}', "NaN and Infinity are not JSON", ""),
        (b'{"data": 1e999}', "The body is not JSON", ""),
        (b"[" * 100_000, "The body is not JSON", ""),
        (b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}", "The body is not JSON", ""),
        (b"[]", "The body is a list; it must be an object.", ""),
        (b"null", "The body is null", ""),
        (b"{}", "The body has no data.", "/data"),
        (b'{"userId": 5, "data": 1}', "userId is the number 5; it must be a text.", "/userId"),
        (b'{"data": 1, "stream": 1}', "stream is the number 1; it must be true or false.", "/stream"),
        (b'{"data": 1, "a/b": 2}', 'The body has an unknown field "a/b"; known are userId, data, stream.', "/a~1b"),
    ],
)
async def test_a_body_that_is_no_request_is_422_and_says_why(body: bytes, detail: str, pointer: str) -> None:
    async with client(Echo()) as http:
        got = await http.post("/predict", content=body)
    problem = got.json()
    assert got.status_code == problem["status"] == 422
    assert got.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "body-unreadable"
    assert detail in problem["detail"]
    assert problem["causes"] == [{"pointer": pointer, "detail": problem["detail"]}]


async def test_of_a_name_that_comes_twice_the_last_one_counts() -> None:
    async with client(Echo()) as http:
        got = await http.post("/predict", content=b'{"data": [1], "data": [2]}')
    assert got.json() == {"predictions": [2]}


async def test_input_that_the_model_cannot_read_is_422_with_its_sentence_and_pointer() -> None:
    async with client(raising(InputUnreadable("Row 1 is odd.", "/data/features/0"))) as http:
        got = await http.post("/predict", content=GOOD, headers={"X-Request-ID": "abc-1"})
    assert got.status_code == 422
    assert got.json() == {
        "type": "about:blank",
        "title": "The model cannot read this input",
        "status": 422,
        "detail": "Row 1 is odd.",
        "code": "input-unreadable",
        "requestId": "abc-1",
        "retryable": False,
        "causes": [{"pointer": "/data/features/0", "detail": "Row 1 is odd."}],
    }


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), RowsMiscounted("secret"), MemoryError()])
async def test_a_model_that_fails_is_500_in_neutral_words_and_the_log_says_why(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(raising(error)) as http:
        got = await http.post("/predict", content=GOOD)
    assert got.status_code == 500
    assert got.json()["code"] == "model-failed"
    assert "secret" not in got.text
    assert type(error).__name__ in caplog.text


async def test_a_request_id_is_echoed_or_made() -> None:
    async with client(Echo()) as http:
        for sent in ("abc-1", "x" * 128):
            assert (await http.get("/health/live", headers={"X-Request-ID": sent})).headers["x-request-id"] == sent
        for unfit in ("", "x" * 129, "two words"):
            made = (await http.get("/health/live", headers={"X-Request-ID": unfit})).headers["x-request-id"]
            assert made != unfit
            assert len(made) == 32


async def test_unknown_paths_and_methods_are_problems() -> None:
    async with client(Echo()) as http:
        missing, wrong = await http.get("/nothing"), await http.get("/predict")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert wrong.headers["allow"] == "POST"


async def test_a_body_may_be_as_large_as_the_limit_and_no_larger() -> None:
    fits = b'{"data":' + b" " * 990 + b"1}"
    assert len(fits) == 1000
    async with client(Echo(), reading=SMALL) as http:
        assert (await http.post("/predict", content=fits)).status_code == 200
        got = await http.post("/predict", content=fits + b" ")
    assert (got.status_code, got.json()["code"]) == (413, "body-too-large")
    assert "1000 bytes" in got.json()["detail"]


async def test_a_body_without_a_length_is_limited_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 100

    async with client(Echo(), reading=SMALL) as http:
        got = await http.post("/predict", content=endless())
    assert got.status_code == 413


@pytest.mark.parametrize("path", ["/predict", "/model"])
async def test_before_the_model_is_ready_it_answers_503(path: str) -> None:
    model = Echo()
    model.phase = Phase("Loading", "Loading the model's files.")
    async with client(model) as http:
        got = await http.request("POST" if path == "/predict" else "GET", path, content=GOOD)
        ready = await http.get("/health/ready")
        live = await http.get("/health/live")
    assert (got.status_code, got.json()["code"], got.headers["retry-after"]) == (503, "not-ready", "1")
    assert got.json()["detail"] == "Loading: Loading the model's files."
    assert (ready.status_code, ready.json()["reason"]) == (503, "Loading")
    assert live.status_code == 200


async def test_health_is_answered_while_a_prediction_runs() -> None:
    started, go_on = threading.Event(), threading.Event()

    def work(rows: Any) -> None:
        started.set()
        assert go_on.wait(30)

    async with client(Echo(work)) as http:
        prediction = asyncio.create_task(http.post("/predict", content=GOOD))
        assert await asyncio.to_thread(started.wait, 30)
        assert (await http.get("/health/live")).status_code == 200
        assert (await http.get("/health/ready")).status_code == 200
        assert not prediction.done()
        go_on.set()
        assert (await prediction).status_code == 200


async def test_predictions_run_one_at_a_time() -> None:
    inside, most = 0, 0

    def work(rows: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        threading.Event().wait(0.001)
        inside -= 1

    async with client(Echo(work)) as http:
        answers = await asyncio.gather(*(http.post("/predict", content=GOOD) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {200}
    assert most == 1


async def test_more_than_the_queue_holds_is_503_and_later_ones_are_answered_again() -> None:
    started, go_on = threading.Event(), threading.Event()
    model = Echo(lambda rows: (started.set(), go_on.wait(30), None)[2])
    async with client(model, batching=BatchBounds(waiting=2)) as http:
        tasks = [asyncio.create_task(http.post("/predict", content=GOOD))]
        assert await asyncio.to_thread(started.wait, 30)
        tasks += [asyncio.create_task(http.post("/predict", content=GOOD)) for _ in range(4)]
        refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        got = refused.pop().result()
        assert (got.status_code, got.json()["code"], got.headers["retry-after"]) == (503, "too-busy", "1")
        go_on.set()
        statuses = sorted(answer.status_code for answer in await asyncio.gather(*tasks))
        assert statuses == [200, 200, 200, 503, 503]
        assert (await http.post("/predict", content=GOOD)).status_code == 200


async def test_large_bodies_that_wait_cannot_fill_the_memory() -> None:
    go_on = threading.Event()
    large = b'{"data":' + b" " * 900 + b"1}"
    async with client(Echo(lambda rows: (go_on.wait(30), None)[1]), reading=SMALL) as http:
        tasks = [asyncio.create_task(http.post("/predict", content=large)) for _ in range(8)]
        refused, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert refused.pop().result().json()["code"] == "too-busy"
        go_on.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*tasks)]
        assert statuses.count(200) == 4
        assert (await http.post("/predict", content=large)).status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(body=st.binary(max_size=60) | st.text(alphabet='{}[]":,datuserI1e+-.\\ ', max_size=60).map(str.encode))
async def test_no_body_makes_the_server_fail(body: bytes) -> None:
    async with client(Echo()) as http:
        got = await http.post("/predict", content=body)
    assert got.status_code in (200, 422)
    json.loads(got.content)
