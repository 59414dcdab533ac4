"""Predictions reach pods in each way that the settings offer, on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Literal, get_args

import pytest

from app.runtimes.base import ServerObservation
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.app.proxy.gateway import gateway
from tests.contracts.runtime_actor import SERVE, STARE, Act
from tests.contracts.runtime_bodies import gone, ready, server, until, until_server

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")


Way = Literal["pod", "service", "apiserver"]
WAYS: tuple[Way, ...] = get_args(Way)


@pytest.fixture
async def runtime(way: Way, settings: KubernetesSettings) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(replace(settings, reach=way))
    await runtime.start()
    yield runtime
    await runtime.close()


@pytest.mark.parametrize("way", WAYS)
async def test_a_prediction_reaches_a_pod(runtime: KubernetesRuntime, way: Way) -> None:
    await runtime.apply(server(Act(SERVE, says=("here",)), replicas=2))

    def reachable(seen: ServerObservation) -> bool:
        return ready(2)(seen) and all(replica.address for replica in seen.replicas)

    seen = await until_server(runtime, reachable)
    addresses = [replica.address for replica in seen.replicas if replica.address]
    async with gateway(*addresses) as it:
        replies = [await it.post(b'{"body": 1}') for _ in range(4)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b'{"says": ["here"]}')] * 4
    assert len(set(addresses)) == (1 if way == "service" else 2)


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_pod_says_while_it_is_not_ready_is_heard(runtime: KubernetesRuntime) -> None:
    await runtime.apply(server(Act(STARE, reason="WarmingUp", message="Half of the model is loaded.")))
    seen = await until_server(runtime, lambda seen: any(one.reason == "WarmingUp" for one in seen.replicas))
    assert seen.replicas[0].message == "Half of the model is loaded."


@pytest.mark.parametrize("way", ["service"])
async def test_the_service_of_a_server_goes_with_it(runtime: KubernetesRuntime, client: Client) -> None:
    path = client.path("", "services", "serve-a")
    await runtime.apply(server(Act(SERVE)))
    await until_server(runtime, ready(1))
    assert (await client.get(path))["spec"]["selector"]["app.kubernetes.io/instance"] == "serve-a"
    await runtime.delete("serve-a")
    await gone(runtime, "serve-a")

    async def absent() -> bool:
        try:
            await client.get(path)
        except Absent:
            return True
        return False

    await until(absent)
