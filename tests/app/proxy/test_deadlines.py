"""How long a prediction may take: what the client allows, what the settings allow, and what the server is told."""

from __future__ import annotations

import asyncio
from time import time

import pytest

from tests.app.proxy.gateway import Gateway, gateway, to, until
from tests.app.proxy.upstreams import AnswersWhenReleased, Upstream


def told(upstream: Upstream) -> tuple[float, float]:
    """The moment and the seconds left that the server was told with the last request."""
    request = upstream.requests[-1]
    return float(request.header(b"x-request-deadline") or 0), float(request.header(b"x-request-timeout") or 0)


@pytest.mark.parametrize("body", [b"{}", b"x" * 1_000_000])
async def test_the_server_is_told_when_time_is_over_and_how_much_is_left(body: bytes) -> None:
    async with Upstream() as upstream, gateway(upstream, deadline=20) as it:
        for _ in range(2):  # over a new connection, then over the kept one
            await it.post(body)
            moment, left = told(upstream)
            assert 15 < left <= 20
            assert abs(moment - left - time()) < 5


async def test_a_client_may_allow_less_but_not_more() -> None:
    async with Upstream() as upstream, gateway(upstream, deadline=20) as it:
        await it.post(headers={"X-Request-Timeout": "7.5"})
        assert 5 < told(upstream)[1] <= 7.5
        await it.post(headers={"X-Request-Timeout": "3600"})
        assert 15 < told(upstream)[1] <= 20


async def test_the_clients_own_deadline_is_not_believed() -> None:
    async with Upstream() as upstream, gateway(upstream, deadline=20) as it:
        await it.post(headers={"X-Request-Deadline": "17"})
        assert told(upstream)[0] > time()


@pytest.mark.parametrize("kept", [False, True])
async def test_past_the_clients_own_time_the_answer_is_504_and_the_replica_is_let_go(kept: bool) -> None:
    async with AnswersWhenReleased() as upstream, gateway(upstream) as it:
        if kept:
            upstream.release.set()
            await it.post()
            upstream.release.clear()
        reply = await it.post(headers={"X-Request-Timeout": "0.2"})
        assert (reply.status, reply.problem["code"]) == (504, "deadline-exceeded")
        await until(lambda: upstream.open == 0)
        assert it.load.concurrency == 0


@pytest.mark.parametrize("timeout", ["", "soon", "-1", "0", "0.0", "1e3", "inf", "nan", "5s", "1_0", "9" * 20])
async def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout: str) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        reply = await it.post(headers={"X-Request-Timeout": timeout})
    assert (reply.status, reply.problem["code"]) == (400, "header-invalid")
    assert "X-Request-Timeout" in reply.problem["detail"]
    assert upstream.requests == []


async def held(it: Gateway, timeout: str) -> asyncio.Task[int]:
    async def post() -> int:
        return (await it.post(headers={"X-Request-Timeout": timeout})).status

    it.routes.update({"iris": to(expected=True)})
    task = asyncio.create_task(post())
    await until(lambda: it.load.held == 1)
    return task


async def test_time_spent_waiting_for_a_replica_counts_for_the_client() -> None:
    async with Upstream() as upstream, gateway() as it:
        assert await (await held(it, "0.2")) == 404, "what could not be held so long fell through"
        waiting = await held(it, "10")
        await until(lambda: it.load.request_seconds > 0.5)
        it.route(upstream)
        assert await waiting == 200
        assert 5 < told(upstream)[1] < 9.8


@pytest.mark.parametrize("trace", ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "not-a-trace", None])
async def test_a_trace_passes_as_it_is_and_none_is_made(trace: str | None) -> None:
    async with Upstream() as upstream, gateway(upstream) as it:
        headers = {} if trace is None else {"traceparent": trace, "tracestate": "congo=t61rcWkgMzE"}
        for _ in range(2):
            await it.post(headers=headers)
            seen = upstream.requests[-1]
            assert seen.header(b"traceparent") == (trace and trace.encode())
            assert seen.header(b"tracestate") == (b"congo=t61rcWkgMzE" if trace else None)
