"""Logs over REST: plain text as they stand, or server-sent events that resume without loss or repeat."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from app.services.logs import LogLines
from tests.support.platform import Yard, eventually

JOB = "train-train-reg-01"
URL = "/api/v1/train/jobs/train-reg-01/logs"


async def running(gateway: Yard) -> None:
    await gateway.submit()

    async def launched() -> bool:
        return JOB in gateway.runtime.launched

    await eventually(launched)


def events(text: str) -> list[dict[str, str]]:
    """The events of a stream, comments left out; lines of data are joined as a browser does."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(":")
            if name:
                value = value.removeprefix(" ")
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        if fields:
            found.append(fields)
    return found


async def followed(gateway: Yard, **headers: str) -> list[dict[str, str]]:
    answer = await gateway.client.get(URL, params={"follow": "true"}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


async def test_a_log_is_plain_text(gateway: Yard) -> None:
    await running(gateway)
    gateway.runtime.prints(JOB, "one\ntwo — déjà\n".encode())
    answer = await gateway.client.get(URL)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "one\ntwo — déjà\n"


async def test_a_job_that_has_not_begun_has_an_empty_log(gateway: Yard) -> None:
    gateway.runtime.gpus = 1
    image = {"modelProfile": "image_classification", "useGpu": True, "hyperparameters": {}}
    await gateway.submit(taskId="first", **image)
    await gateway.submit(**image)
    assert (await gateway.client.get(URL)).text == ""


async def test_tail_and_since_choose_where_it_begins(gateway: Yard) -> None:
    await running(gateway)
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    gateway.runtime.clock = lambda: now
    gateway.runtime.prints(JOB, b"old\n")
    gateway.runtime.clock = lambda: datetime(2026, 11, 20, 13, 0, tzinfo=UTC)
    gateway.runtime.prints(JOB, b"new\nnewest\n")
    for query, wanted in (
        ({"tail": 1}, "newest\n"),
        ({"tail": 0}, ""),
        ({"tail": 99}, "old\nnew\nnewest\n"),
        ({"since": "2026-11-20T12:30:00Z"}, "new\nnewest\n"),
        ({"since": "2026-11-20T12:30:00Z", "tail": 1}, "newest\n"),
    ):
        assert (await gateway.client.get(URL, params=query)).text == wanted


@pytest.mark.parametrize(
    "query", [{"since": "yesterday"}, {"since": "99999999999d"}, {"tail": "-1"}, {"tail": "x"}, {"follow": "perhaps"}]
)
async def test_a_bad_parameter_is_refused(gateway: Yard, query: dict[str, str]) -> None:
    await running(gateway)
    answer = await gateway.client.get(URL, params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]


async def test_a_followed_log_ends_with_the_termination(gateway: Yard) -> None:
    await running(gateway)
    gateway.runtime.prints(JOB, b"one\ntwo\nunfinished")
    gateway.runtime.ends(JOB, 3, "DataUnreadable", "No such file.")
    *lines, end = await followed(gateway)
    assert "\n".join(event["data"] for event in lines) == "one\ntwo\nunfinished"
    assert lines[-1]["id"] == str(len(b"one\ntwo\nunfinished"))
    assert end["event"] == "end"
    assert json.loads(end["data"])["exitCode"] == 3


async def test_lines_come_while_the_job_runs(gateway: Yard) -> None:
    await running(gateway)
    gateway.runtime.prints(JOB, b"one\n")
    stream = asyncio.create_task(followed(gateway))
    await asyncio.sleep(0)
    gateway.runtime.prints(JOB, b"tw")
    gateway.runtime.prints(JOB, b"o\n")
    gateway.runtime.ends(JOB)
    *lines, _ = await stream
    assert "\n".join(event["data"] for event in lines) == "one\ntwo"


async def test_an_unfinished_line_is_held_back_until_it_is_whole(gateway: Yard) -> None:
    await running(gateway)

    async def never() -> bool:
        return False

    stream = gateway.platform.logs.follow(JOB, 0, 0, never)
    gateway.runtime.prints(JOB, b"one\ntw")
    assert await anext(stream) == LogLines("one", 4)
    assert await anext(stream) is None
    gateway.runtime.prints(JOB, b"o\n")
    assert await anext(stream) == LogLines("two", 8)


async def test_every_event_id_resumes_without_loss_or_repeat(gateway: Yard) -> None:
    await running(gateway)
    log = b"".join(f"line {number} é\n".encode() for number in range(50))
    gateway.runtime.prints(JOB, log)
    gateway.runtime.ends(JOB)
    *lines, _ = await followed(gateway)
    for event in lines:
        offset = int(event["id"])
        *rest, _ = await followed(gateway, **{"Last-Event-ID": event["id"]})
        assert "\n".join(one["data"] for one in rest) == log[offset:].decode().removesuffix("\n")


@pytest.mark.parametrize("forged", ["-1", "x", "1e3", "9" * 20])
async def test_a_forged_event_id_is_refused(gateway: Yard, forged: str) -> None:
    await running(gateway)
    answer = await gateway.client.get(URL, params={"follow": "true"}, headers={"Last-Event-ID": forged})
    assert answer.status_code == 422


async def test_following_a_job_that_is_cancelled_before_it_begins_ends(gateway: Yard) -> None:
    gateway.runtime.gpus = 1
    image: dict[str, Any] = {"modelProfile": "image_classification", "useGpu": True, "hyperparameters": {}}
    await gateway.submit(taskId="first", **image)
    await gateway.submit(**image)
    stream = asyncio.create_task(followed(gateway))
    await gateway.client.delete("/api/v1/train/jobs/train-reg-01")
    async with asyncio.timeout(10):
        [end] = await stream
    assert json.loads(end["data"])["reason"] == "Cancelled"


async def test_a_server_log_is_chosen_by_replica(gateway: Yard) -> None:
    gateway.mlflow.log("90df8a7a263149d2bb86a71be7442611", model_id="m-1")
    await gateway.deploy(replicas=2)

    async def launched() -> bool:
        return len(gateway.runtime.launched) == 2

    await eventually(launched)
    gateway.runtime.prints("serve-deploy-reg-01", b"second\n", replica=1)
    url = "/api/v1/inference/deployments/deploy-reg-01/logs"
    assert (await gateway.client.get(url)).text == ""
    assert (await gateway.client.get(url, params={"replica": 1})).text == "second\n"
