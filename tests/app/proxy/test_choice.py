"""Which replica is asked: the shares of versions, the least busy replica, and the one that a key belongs to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from app.core.addresses import Address
from app.core.routing import Backend, RouteSpec
from app.proxy.metrics import Metrics
from app.proxy.replicas import Replica
from app.proxy.routes import Route, RouteTable
from tests.app.proxy.addresses import refused_address
from tests.app.proxy.gateway import gateway, to, until
from tests.app.proxy.upstreams import AnswersWhenReleased, Upstream


def route(*backends: Backend) -> Route:
    table = RouteTable(Metrics(CollectorRegistry()))
    table.update({"iris": RouteSpec(backends)})
    found = table.get("iris")
    assert found is not None
    return found


def version(name: str, weight: int, ports: Iterable[int]) -> Backend:
    return Backend(tuple(Address("127.0.0.1", port) for port in ports), name, weight)


def chosen(of: Route, times: int) -> list[int]:
    """The ports of the replicas that get the next requests."""
    replicas = [of.choose() for _ in range(times)]
    return [replica.address.port for replica in replicas if replica is not None]


@given(weights=st.lists(st.integers(0, 100), min_size=1, max_size=4), start=st.integers(0, 150))
def test_weights_are_exact_over_every_window_of_their_sum(weights: list[int], start: int) -> None:
    it = route(*(version(str(port), weight, [port]) for port, weight in enumerate(weights, 1)))
    chosen(it, start)
    counted = Counter(chosen(it, sum(weights)))
    assert counted == Counter({port: weight for port, weight in enumerate(weights, 1) if weight})


def test_a_small_share_is_spread_over_the_window() -> None:
    it = route(version("stable", 90, [1]), version("canary", 10, [2]))
    turns = chosen(it, 200)
    canary = [number for number, port in enumerate(turns) if port == 2]
    assert [after - before for before, after in pairwise(canary)] == [10] * 19


def test_the_share_of_a_version_without_replicas_goes_to_the_others() -> None:
    it = route(version("stable", 75, [1]), version("canary", 25, []))
    assert set(chosen(it, 10)) == {1}


def test_a_version_of_no_weight_gets_nothing_even_if_it_is_the_only_one() -> None:
    it = route(version("stable", 100, []), version("dark", 0, [2]))
    assert (chosen(it, 3), it.ready, it.size) == ([], False, 0)


def test_an_equal_update_does_not_begin_the_window_anew() -> None:
    table = RouteTable(Metrics(CollectorRegistry()))
    spec = RouteSpec((version("stable", 2, [1]), version("canary", 1, [2])))
    counted: Counter[int] = Counter()
    for _ in range(9):
        table.update({"iris": spec})
        found = table.get("iris")
        assert found is not None
        counted.update(chosen(found, 1))
    assert counted == {1: 6, 2: 3}


def test_the_least_busy_replica_of_the_chosen_version_gets_the_request() -> None:
    it = route(version("stable", 50, [1, 2]), version("canary", 50, [3, 4]))
    by_port = {replica.address.port: replica for replica in it.replicas}
    by_port[1].busy, by_port[3].busy = 5, 1
    assert Counter(chosen(it, 20)) == {2: 10, 4: 10}


@pytest.mark.parametrize("busy", [0, 3])
def test_equally_busy_replicas_get_equally_much(busy: int) -> None:
    it = route(version("only", 100, range(1, 8)))
    for replica in it.replicas:
        replica.busy = busy
    for _ in range(5):
        assert sorted(chosen(it, 7)) == list(range(1, 8))


def test_a_busy_replica_does_not_double_the_share_of_its_neighbour() -> None:
    it = route(version("only", 100, range(1, 6)))
    it.replicas[0].busy = 9
    assert set(Counter(chosen(it, 40)).values()) == {10}


def homes(of: Route, keys: Sequence[bytes], tried: Sequence[Replica] = ()) -> dict[bytes, int]:
    found = {key: of.choose(key, tried) for key in keys}
    return {key: replica.address.port for key, replica in found.items() if replica is not None}


KEYS = [b"session-%d" % number for number in range(400)]


def test_a_replica_that_goes_moves_only_its_own_keys_and_gets_them_back() -> None:
    before = homes(route(version("only", 100, range(1, 6))), KEYS)
    without = homes(route(version("only", 100, range(2, 6))), KEYS)
    assert {key for key in KEYS if before[key] != without[key]} == {key for key in KEYS if before[key] == 1}
    assert min(Counter(before.values()).values()) > 40, "the keys are spread"
    assert homes(route(version("only", 100, [5, 3, 1, 2, 4])), KEYS) == before, "in whatever order they are seen"


def test_a_change_of_weights_moves_no_more_keys_than_it_must() -> None:
    before = homes(route(version("stable", 90, [1]), version("canary", 10, [2])), KEYS)
    after = homes(route(version("stable", 70, [1]), version("canary", 30, [2])), KEYS)
    assert {key for key in KEYS if before[key] == 2} <= {key for key in KEYS if after[key] == 2}
    assert 60 < Counter(after.values())[2] < 180


def test_the_key_of_a_replica_that_does_not_take_it_goes_where_it_would_without_that_replica() -> None:
    it = route(version("only", 100, range(1, 6)))
    first = {replica.address.port: replica for replica in it.replicas}[1]
    assert homes(it, KEYS, [first]) == homes(route(version("only", 100, range(2, 6))), KEYS)


async def test_requests_with_one_value_of_the_sticky_header_go_to_one_replica() -> None:
    async with Upstream() as one, Upstream() as two, gateway() as it:
        it.routes.update({"iris": to(one.address, two.address, sticky_header="x-session")})
        for number in range(24):
            await it.post(headers={"X-Session": f"s{number % 8}"})
        asked = [{request.header(b"x-session") for request in upstream.requests} for upstream in (one, two)]
        assert asked[0].isdisjoint(asked[1])
        assert asked[0] | asked[1] == {b"s%d" % number for number in range(8)}
        for _ in range(4):
            await it.post()
            await it.post(headers={"X-Session": ""})
        assert all(request_count > 3 for request_count in (len(one.requests), len(two.requests)))


async def test_a_sticky_request_falls_to_another_replica_if_its_own_takes_no_connection() -> None:
    async with Upstream() as upstream, gateway() as it:
        it.routes.update({"iris": to(upstream.address, refused_address(), sticky_header="x-session")})
        for number in range(8):
            assert (await it.post(headers={"X-Session": f"s{number}"})).status == 200


async def test_a_version_whose_replicas_take_no_connection_gives_way_to_the_other() -> None:
    async with Upstream() as upstream, gateway() as it:
        backends = (Backend((Address(*refused_address()),), "canary", 50), Backend((upstream.address,), "stable", 50))
        it.routes.update({"iris": RouteSpec(backends)})
        for _ in range(4):
            assert (await it.post()).status == 200


async def test_the_share_holds_for_requests_through_the_gateway_whatever_way_they_take() -> None:
    async with AnswersWhenReleased() as canary, Upstream() as stable, gateway() as it:
        canary.release.set()
        backends = (Backend((stable.address,), "stable", 3), Backend((canary.address,), "canary", 1))
        it.routes.update({"iris": RouteSpec(backends)})
        await asyncio.gather(*(it.post(b"x" * (1 if number % 2 else 300_000)) for number in range(16)))
        await until(lambda: it.load.in_flight == 0)
    assert (len(stable.requests), len(canary.requests)) == (12, 4)
