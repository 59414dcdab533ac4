"""A job that cannot start or that ends badly says why, on a real cluster; and what was made twice is there once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.core.specs import JobSpec
from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import Manifest
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.contracts.runtime_actor import END, HOARD, WAIT, Act
from tests.contracts.runtime_bodies import exited, gone, job, log_of, running_and_heard, until, until_job

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")  # one namespace, so one after the other


def with_image(spec: JobSpec, image: str) -> JobSpec:
    return replace(spec, program=replace(spec.program, image=image))


async def until_reason(runtime: KubernetesRuntime, reason: str) -> JobObservation:
    return await until_job(runtime, "train-a", lambda seen: seen.reason == reason)


async def test_an_image_that_cannot_be_pulled_is_a_reason_in_words(runtime: KubernetesRuntime) -> None:
    await runtime.apply(with_image(job(Act(END)), "localhost:1/no-such:1"))
    seen = await until_reason(runtime, "ImagePullFailed")
    assert seen.state is ProcessState.STARTING and "no-such" in seen.message
    await runtime.stop("train-a")
    end = (await exited(runtime)).termination
    assert end is not None and end.reason == "Stopped" and end.exit_code is None


async def test_an_image_name_that_is_none_ends_the_job(runtime: KubernetesRuntime) -> None:
    await runtime.apply(with_image(job(Act(END)), "localhost/UPPER:1"))
    assert (await exited(runtime)).reason == "ImagePullFailed"


async def test_what_takes_more_memory_than_its_limit_was_killed_for_it(runtime: KubernetesRuntime) -> None:
    await runtime.apply(job(Act(HOARD)))
    end = (await exited(runtime)).termination
    assert end is not None and (end.reason, end.signal) == ("OOMKilled", "SIGKILL")


async def test_a_quota_that_is_used_up_is_a_reason_in_words(runtime: KubernetesRuntime, client: Client) -> None:
    quota: Manifest = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "tight"},
        "spec": {"hard": {"pods": "0"}},
    }
    path = client.path("", "resourcequotas")
    await client.create(path, quota)
    try:
        await until(lambda: _counted(client, f"{path}/tight"))
        await runtime.apply(job(Act(END)))
        seen = await until_reason(runtime, "QuotaExceeded")
        assert seen.state is ProcessState.WAITING and "exceeded quota: tight" in seen.message
    finally:
        await client.delete(f"{path}/tight")
    await runtime.stop("train-a")
    assert (await exited(runtime)).reason == "Stopped"


async def _counted(client: Client, path: str) -> bool:
    return bool((await client.get(path)).get("status", {}).get("hard"))


async def test_two_gateways_that_apply_at_once_make_one_job(
    runtime: KubernetesRuntime, settings: KubernetesSettings, client: Client
) -> None:
    other = KubernetesRuntime(settings)
    await other.start()
    try:
        await asyncio.gather(*(one.apply(job(Act(WAIT))) for one in (runtime, other) * 5))
        await running_and_heard(other)
        pods: list[Any] = [item async for page in client.pages(client.path("", "pods"), {}) for item in page["items"]]
        assert len(pods) == 1
        await other.stop("train-a")
        await exited(runtime)
    finally:
        await other.close()


async def test_what_runs_outlives_the_gateway_and_is_taken_up_by_the_next(
    runtime: KubernetesRuntime, settings: KubernetesSettings
) -> None:
    await runtime.apply(job(Act(WAIT, exit_code=1)))
    await running_and_heard(runtime)
    await runtime.stop("train-a")
    await runtime.close()
    await runtime.start()
    assert (await exited(runtime)).reason == "Stopped"
    assert await log_of(runtime) == b"run 1\n"


async def test_a_job_that_somebody_deletes_is_gone_and_not_made_again(
    runtime: KubernetesRuntime, client: Client
) -> None:
    await runtime.apply(replace(job(Act(WAIT)), start_deadline=timedelta(minutes=5)))
    await running_and_heard(runtime)
    await client.delete(client.path("batch/v1", "jobs", "train-a"), "Background")
    await gone(runtime, "train-a")
    assert await runtime.observe_jobs(["train-a"]) == {}
