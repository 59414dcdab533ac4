"""What a deployment cannot answer in time is refused at once, and nobody else feels its load."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from app.proxy.pace import STEADINESS, Pace
from tests.app.proxy.gateway import gateway, to, until
from tests.app.proxy.upstreams import AnswersWhenReleased, OneAtATime, Upstream

STEP = 0.02  # seconds that the slow server needs for each request


async def test_what_could_not_be_answered_in_time_is_refused_at_once_and_the_rest_is_answered() -> None:
    async with OneAtATime(STEP) as slow, gateway(slow) as it:
        await it.crowd(16)  # by which the pace is learnt
        seen = len(slow.requests)
        replies = await it.crowd(40, b"X-Request-Timeout: %g" % (STEP * 10))
        codes = Counter(reply.status for reply in replies)
        refused = [reply for reply in replies if reply.status == 503]
        assert codes[503] >= 5, codes
        assert codes[200] >= 1, codes
        assert len(slow.requests) == seen + 40 - len(refused), "a refused request never reaches a replica"
        assert refused[0].problem["code"] == "overloaded"
        assert refused[0].problem["retryable"]
        assert int(refused[0].header("retry-after") or 0) >= 1
        assert it.load.refused == len(refused)
        shown = it.registry.get_sample_value("inference_requests_refused_total", {"task": "iris"})
        assert (shown, it.counted(503)) == (len(refused), len(refused))


async def test_an_overloaded_deployment_does_not_harm_its_neighbour() -> None:
    async with AnswersWhenReleased() as stuck, Upstream() as well, gateway(in_flight_per_replica=4) as it:
        it.routes.update({"iris": to(stuck.address), "other": to(well.address)})
        waiting = [asyncio.create_task(it.post()) for _ in range(4)]
        await until(lambda: it.load.in_flight == 4)
        assert (await it.post()).problem["code"] == "overloaded"
        assert (await it.post(b"n", path="/inference/other/predict")).body == b"n"
        stuck.release.set()
        assert {(await reply).status for reply in waiting} == {200}
        assert (await it.post()).status == 200


async def test_an_idle_deployment_is_asked_however_slow_it_was() -> None:
    async with OneAtATime(0.05) as slow, gateway(slow) as it:
        await it.crowd(6)
        assert (await it.post(headers={"X-Request-Timeout": "0.01"})).status == 504
        assert (await it.post(headers={"X-Request-Timeout": "5"})).status == 200


def test_nothing_is_refused_as_long_as_nothing_is_known() -> None:
    assert Pace().wait(1000, 1) == 0


def test_the_pace_follows_a_server_that_becomes_slower_or_faster() -> None:
    pace = Pace()
    for seconds in (1.0, 0.1, 3.0):
        for _ in range(5 * STEADINESS):
            pace.learn(seconds * 10, ahead=10, replicas=1)
        assert pace.wait(20, 1) == pytest.approx(seconds * 20, rel=0.1)


def test_more_replicas_shorten_the_wait() -> None:
    pace = Pace()
    pace.learn(10.0, ahead=10, replicas=1)
    assert (pace.wait(20, 1), pace.wait(20, 4), pace.wait(4, 4)) == (20, 5, 0)


def test_who_had_a_replica_for_itself_proves_no_slowness() -> None:
    pace = Pace()
    for _ in range(100):
        pace.learn(1.0, ahead=1, replicas=1)
    assert pace.wait(64, 1) == 0, "a server that batches takes hardly longer for many"


def test_who_had_a_replica_for_itself_proves_that_it_is_fast_again() -> None:
    pace = Pace()
    pace.learn(1000.0, ahead=10, replicas=1)
    for _ in range(5 * STEADINESS):
        pace.learn(0.01, ahead=1, replicas=1)
    assert pace.wait(10, 1) < 10


def test_one_that_was_given_up_early_proves_no_speed() -> None:
    pace = Pace()
    pace.learn(10.0, ahead=10, replicas=1)
    pace.learn(0.01, ahead=10, replicas=1, answered=False)
    assert pace.wait(10, 1) == 10
