"""A job that cannot start or that ends badly says why, on a real cluster; and what was made twice is there once."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.core.specs import JobSpec, Placement, Resources
from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import Manifest
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.cluster.by_hand import create_job, runs, with_little_room, with_secret
from tests.cluster.registry import an_empty_registry
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


async def test_an_image_that_is_not_there_ends_the_job_after_three_tries(runtime: KubernetesRuntime) -> None:
    with an_empty_registry() as registry:
        await runtime.apply(with_image(job(Act(END), deadline=300), f"{registry}/no-such:1"))
        end = await until(lambda: _exited(runtime), seconds=100)
    assert end.reason == "ImagePullFailed" and "3 tries" in end.message


async def _exited(runtime: KubernetesRuntime) -> JobObservation | None:
    seen = (await runtime.observe_jobs(["train-a"])).get("train-a")
    return seen if seen and seen.state is ProcessState.EXITED else None


async def test_what_asks_for_more_than_any_node_has_says_how_much_that_is(runtime: KubernetesRuntime) -> None:
    await runtime.apply(replace(job(Act(END)), resources=Resources(999_000, 1 << 27)))
    seen = await until_reason(runtime, "Unschedulable")
    assert re.search(r"It asks for 999 CPU; no node has more than [\d.]+ of [\d.]+ free\.", seen.message), seen.message
    await runtime.apply(replace(job(Act(END), "train-b"), resources=Resources(100, 1 << 50)))
    seen = await until_job(runtime, "train-b", lambda seen: seen.reason == "Unschedulable")
    assert re.search(r"asks for 1.049e\+06 GiB; no node has more than [\d.]+ GiB of [\d.]+ GiB free", seen.message)


async def test_a_place_that_no_node_offers_is_named(runtime: KubernetesRuntime) -> None:
    await runtime.apply(replace(job(Act(END)), placement=Placement({"disk": "no-such"})))
    seen = await until_reason(runtime, "Unschedulable")
    assert "asks for a node with the label disk=no-such." in seen.message


async def test_a_volume_claim_that_is_not_there_is_missing_configuration(settings: KubernetesSettings) -> None:
    other = KubernetesRuntime(replace(settings, work_claim="no-such"))
    await other.start()
    try:
        await other.apply(job(Act(END)))
        seen = await until_reason(other, "ConfigMissing")
        assert seen.state is ProcessState.WAITING and seen.message == "The volume claim no-such is not there."
    finally:
        await other.close()


async def test_a_runtime_class_that_is_not_there_is_missing_configuration(runtime: KubernetesRuntime) -> None:
    await runtime.apply(replace(job(Act(END)), placement=Placement(runtime_class="no-such")))
    seen = await until_reason(runtime, "ConfigMissing")
    assert 'RuntimeClass "no-such" not found' in seen.message


async def test_a_secret_that_is_not_there_is_missing_configuration(
    runtime: KubernetesRuntime, settings: KubernetesSettings, client: Client
) -> None:
    await create_job(client, job(Act(END)), settings, with_secret("no-such", "KEY"))
    seen = await until_reason(runtime, "ConfigMissing")
    assert seen.state is ProcessState.STARTING and 'secret "no-such" not found' in seen.message


HOARDING_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "len(b'x' * (1 << 30))"])
"""


async def test_a_child_that_was_killed_for_its_memory_counts_though_the_program_ends_well(
    runtime: KubernetesRuntime, settings: KubernetesSettings, client: Client
) -> None:
    await create_job(client, job(Act(END)), settings, runs(HOARDING_CHILD))
    end = (await exited(runtime)).termination
    assert end is not None and (end.reason, end.exit_code) == ("OOMKilled", 0)


FILL_AND_WAIT = "import time; open('/tmp/x', 'wb').write(b'x' * (20 << 20)); time.sleep(300)"


async def test_what_fills_its_disk_is_evicted(
    runtime: KubernetesRuntime, settings: KubernetesSettings, client: Client
) -> None:
    await create_job(client, job(Act(END)), settings, with_little_room(FILL_AND_WAIT))
    seen = await exited(runtime)
    assert seen.reason == "Evicted" and "exceeds" in seen.message


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
