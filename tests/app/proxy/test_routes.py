"""Routes that come, change and go under way; which replica is chosen; what is counted."""

from __future__ import annotations

import asyncio
import contextlib

from prometheus_client import CollectorRegistry, generate_latest

from app.core.addresses import Address
from app.proxy.metrics import Metrics
from app.proxy.replicas import IDLE_SECONDS
from app.proxy.routes import RouteTable
from tests.app.proxy.gateway import gateway, to, until
from tests.app.proxy.upstreams import AnswersWhenReleased, Sends, Upstream, answer


async def test_connections_are_kept_and_the_one_used_last_is_used_next() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        for _ in range(5):
            await it.post()
    assert upstream.connections == 1


async def test_a_connection_that_was_idle_too_long_is_closed_not_used() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post()
        (replica,) = it.route(upstream).replicas
        connection = replica.idle_connection()
        assert connection is not None
        replica.release(connection)
        connection.idle_since -= IDLE_SECONDS
        await it.post()
        await until(lambda: upstream.open == 1)
    assert upstream.connections == 2


async def test_a_connection_whose_replica_says_close_is_not_used_again() -> None:
    async with Sends(answer(b"x", b"Connection: close"), keep=True) as upstream, gateway(upstream) as it:
        for _ in range(2):
            assert (await it.post()).body == b"x"
    assert upstream.connections == 2


async def test_a_request_goes_to_the_least_busy_replica() -> None:
    async with AnswersWhenReleased() as slow, Upstream() as quick, gateway(slow) as it:
        held = asyncio.create_task(it.post(b"held"))
        await until(lambda: len(slow.requests) == 1)
        route = it.route(slow, quick)
        for _ in range(4):
            assert (await it.post(b"quick")).body == b"quick"
        slow.release.set()
        await held
        assert [replica.busy for replica in route.replicas] == [0, 0]
    assert (len(slow.requests), len(quick.requests)) == (1, 4)


async def test_among_equals_the_turn_goes_round() -> None:
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream()) for _ in range(3)]
        it = await stack.enter_async_context(gateway(*upstreams))
        for _ in range(6):
            await it.post()
    assert [len(upstream.requests) for upstream in upstreams] == [2, 2, 2]


async def test_a_replica_that_goes_finishes_what_it_has_and_gets_nothing_new() -> None:
    async with AnswersWhenReleased() as going, Upstream() as staying, gateway(going) as it:
        held = asyncio.create_task(it.post(b"held"))
        await until(lambda: len(going.requests) == 1)
        it.route(staying)
        for _ in range(3):
            assert (await it.post(b"new")).body == b"new"
        going.release.set()
        assert (await held).body == b"held"
        await until(lambda: going.open == 0)
    assert len(going.requests) == 1


async def test_a_replica_that_goes_has_its_idle_connections_closed() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post()
        assert upstream.open == 1
        it.routes.update({"iris": to()})
        await until(lambda: upstream.open == 0)


async def test_a_replica_that_stays_keeps_its_count_and_its_connections() -> None:
    async with Upstream() as upstream, AnswersWhenReleased() as slow, gateway(slow) as it:
        held = asyncio.create_task(it.post(b"held"))
        await until(lambda: len(slow.requests) == 1)
        for addresses in ((slow, upstream), (upstream, slow), (slow, upstream)):
            route = it.route(*addresses)
            await it.post()
            assert {replica.address: replica.busy for replica in route.replicas} == {
                slow.address: 1,
                upstream.address: 0,
            }
        slow.release.set()
        assert (await held).body == b"held"
    assert upstream.connections == 1


async def test_a_task_without_replicas_falls_through_until_it_has_one_again() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        it.route()
        assert (await it.post()).status == 404
        it.route(upstream)
        assert (await it.post()).status == 200
        assert it.counted(200) == 1


async def test_answers_are_counted_and_timed_by_task_and_code() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        for _ in range(3):
            await it.post()
        assert it.counted(200) == 3
        seconds = it.registry.get_sample_value("inference_duration_seconds_sum", {"task": "iris"})
        count = it.registry.get_sample_value("inference_duration_seconds_count", {"task": "iris"})
        last = it.registry.get_sample_value("inference_duration_seconds_bucket", {"task": "iris", "le": "+Inf"})
        assert (count, last) == (3, 3)
        assert seconds is not None
        assert seconds > 0
        assert b'inference_requests_total{code="200",task="iris"} 3.0' in generate_latest(it.registry)


async def test_unknown_tasks_are_not_counted() -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        await it.post(path="/api/v1/inference/anything/predict")
        assert b"anything" not in generate_latest(it.registry)


async def test_labels_vanish_with_their_route_even_if_an_answer_comes_later() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        held = asyncio.create_task(it.post(b"held"))
        await until(lambda: len(upstream.requests) == 1)
        it.routes.update({})
        assert b"iris" not in generate_latest(it.registry)
        upstream.release.set()
        assert (await held).body == b"held"
        assert b"iris" not in generate_latest(it.registry)
        it.route(upstream)
        assert it.counted(200) is None


async def test_a_load_says_what_waits_what_came_and_for_how_long() -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        before = it.load
        posts = [asyncio.create_task(it.post(b"x")) for _ in range(3)]
        await until(lambda: it.load.in_flight == 3)
        first = it.load
        await until(lambda: it.load.at > first.at + 0.2)
        second = it.load
        average = (second.request_seconds - first.request_seconds) / (second.at - first.at)
        assert abs(average - 3) < 1e-6, "the average concurrency between two readings"
        assert (second.concurrency, second.arrivals, second.held) == (3, 3, 0)
        assert it.registry.get_sample_value("inference_requests_in_flight", {"task": "iris"}) == 3
        upstream.release.set()
        await asyncio.gather(*posts)
        await until(lambda: it.load.in_flight == 0)
        assert it.load.request_seconds > second.request_seconds > before.request_seconds == 0
        assert it.load.request_seconds == it.load.request_seconds, "nothing grows while nothing waits"


async def test_what_waits_for_a_replica_counts_for_the_load_too() -> None:
    async with gateway() as it:
        it.routes.update({"iris": to(expected=True)})
        wanted = []
        it.routes.when_wanted = lambda: wanted.append(it.load.held)
        crowd = asyncio.create_task(it.crowd(20))
        await until(lambda: it.load.held == 20)
        assert (it.load.concurrency, it.load.in_flight, it.load.arrivals) == (20, 0, 20)
        assert it.registry.get_sample_value("inference_requests_held", {"task": "iris"}) == 20
        assert wanted == [0], "many that come at once are told of once"
        it.routes.update({"iris": to()})
        assert {reply.status for reply in await crowd} == {404}
        assert it.load.concurrency == 0


def test_an_update_is_idempotent_and_tells_the_whole_truth() -> None:
    routes = RouteTable(Metrics(CollectorRegistry()))
    wanted = {"a": to(("127.0.0.1", 1), ("127.0.0.1", 1), ("::1", 2)), "b": to()}
    routes.update(wanted)
    first = routes.get("a")
    assert first is not None
    replicas = first.replicas
    routes.update(wanted)
    assert routes.get("a") is first
    assert set(first.replicas) == set(replicas)
    lines = {replica.address: replica.lines for replica in replicas}
    assert lines.keys() == {Address("127.0.0.1", 1), Address("::1", 2)}
    assert b"host: [::1]:2\r\n" in lines[Address("::1", 2)]
    routes.update({"b": to()})
    assert routes.get("a") is None
    b = routes.get("b")
    assert b is not None
    assert routes.find("/inference/b/predict") is b
    assert not b.ready


async def test_a_table_that_is_behind_asks_for_news_and_hears_them() -> None:
    table, asked = RouteTable(Metrics(CollectorRegistry())), 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        asyncio.get_running_loop().call_soon(table.update, {"a": to(("127.0.0.1", 1))} if asked == 2 else {})

    table.when_behind = ask
    assert await table.catch_up("a", seconds=30)
    assert asked == 2
    assert await table.catch_up("a", seconds=0)
    assert asked == 2


async def test_a_table_that_hears_nothing_new_says_so() -> None:
    table = RouteTable(Metrics(CollectorRegistry()))
    assert not await table.catch_up("a", seconds=0.01)
