"""Predictions that arrive while a deployment has no ready replica."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.controllers.routes import is_expected
from app.core.conditions import Condition, Status
from app.core.specs import Program, Resources, ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from tests.app.proxy.gateway import Gateway, gateway, to, until
from tests.app.proxy.upstreams import Upstream

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LARGE = b"x" * (1 << 20)


def expect(it: Gateway) -> None:
    it.routes.update({"iris": to(expected=True)})


@pytest.mark.parametrize("body", [b"held", b"", LARGE])
async def test_a_prediction_waits_for_a_replica_and_arrives_whole(body: bytes) -> None:
    async with Upstream() as upstream, gateway() as it:
        expect(it)
        held = asyncio.create_task(it.post(body))
        await until(lambda: it.load.held == 1)
        it.route(upstream)
        assert (await held).body == body
        assert it.load.held == 0


async def test_one_that_nobody_expects_back_is_not_waited_for() -> None:
    async with gateway(hold_seconds=60) as it:
        it.routes.update({"iris": to()})
        assert (await it.post()).status == 404


async def test_nobody_waits_beyond_the_bounds() -> None:
    async with gateway(hold_seconds=0.05) as it:
        expect(it)
        assert (await it.post()).status == 404
    async with gateway(held_requests=1) as it:
        expect(it)
        held = asyncio.create_task(it.post())
        await until(lambda: it.load.held == 1)
        refused = await it.post()
        assert (refused.problem["code"], refused.header("retry-after")) == ("overloaded", "1")
        it.routes.update({})
        assert (await held).status == 404


async def test_a_client_that_leaves_frees_its_place() -> None:
    async with gateway() as it:
        expect(it)
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(b"POST /inference/iris/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        await until(lambda: it.load.held == 1)
        writer.transport.abort()
        await until(lambda: it.load.held == 0)


def deployment(ready: Status, replicas: int = 1, available: bool = True) -> Deployment:
    spec = ServerSpec("serve-a", "a", "u", Program("m", {}, "i"), Resources(1, 1), timedelta(minutes=1), replicas)
    conditions: tuple[Condition, ...] = (Condition("Ready", ready, "R", "", NOW),)
    if available:
        conditions += (Condition("Available", Status.TRUE, "WasReady", "", NOW),)
    return Deployment(1, "a", "u", "m", {}, spec, Desired.RUN, "r", None, DeploymentStatus(conditions), NOW)


def test_only_what_was_ready_and_shall_be_again_shortly_is_expected() -> None:
    away = deployment(Status.FALSE)
    assert is_expected(deployment(Status.TRUE), NOW + timedelta(hours=1))
    assert is_expected(away, NOW + timedelta(seconds=59))
    assert not is_expected(away, NOW + timedelta(seconds=60))
    assert not is_expected(deployment(Status.FALSE, replicas=0), NOW)
    assert not is_expected(deployment(Status.FALSE, available=False), NOW)
    assert not is_expected(replace(away, status=DeploymentStatus()), NOW)
