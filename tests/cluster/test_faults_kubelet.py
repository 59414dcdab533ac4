"""A node goes silent: its job ends as NodeLost, and what still ran there is stopped when the node is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.cluster.faults import COMMAND, UNPROVED
from tests.contracts.runtime_actor import WAIT, Act
from tests.contracts.runtime_bodies import job, running_and_heard, until

pytestmark = [
    pytest.mark.xdist_group("runtime-kubernetes"),
    pytest.mark.skipif(not COMMAND, reason=UNPROVED),
]


async def _run(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(COMMAND, *arguments)
    assert await process.wait() == 0


@asynccontextmanager
async def a_silent_node() -> AsyncIterator[None]:
    await _run("kill", "kubelet")
    try:
        yield
    finally:
        await _run("start", "kubelet")


async def test_a_job_on_a_silent_node_is_lost_and_stopped_when_the_node_is_back(
    settings: KubernetesSettings, client: Client
) -> None:
    runtime = KubernetesRuntime(replace(settings, node_patience=5))
    await runtime.start()

    async def noted() -> JobObservation | None:
        seen = (await runtime.observe_jobs(["train-a"]))["train-a"]
        return seen if seen.notes else None

    async def lost() -> JobObservation | None:
        seen = (await runtime.observe_jobs(["train-a"]))["train-a"]
        return seen if seen.state is ProcessState.EXITED else None

    async def stopped() -> str | None:
        pods = [item async for page in client.pages(client.path("", "pods"), {}) for item in page["items"]]
        assert len(pods) == 1
        status = pods[0]["status"]  # a kubelet before 1.22 may never tell how the container ended
        is_over = status["phase"] == "Failed" or "terminated" in status["containerStatuses"][0]["state"]
        return "over" if is_over else None

    try:
        await runtime.apply(job(Act(WAIT, exit_code=1, reason="Interrupted", message="A checkpoint was left.")))
        await running_and_heard(runtime)
        async with a_silent_node():
            seen = await until(noted, seconds=120)
            assert seen.state is ProcessState.RUNNING and "node-1" in seen.notes[0]
            end = await until(lost, seconds=60)
            assert end.reason == "NodeLost" and "node-1" in end.message
        await until(stopped, seconds=120)
        assert (await until(lost)).reason == "NodeLost"
    finally:
        await runtime.close()
