"""Queues: where the cluster shows Kueue's group a Job asks to be admitted; elsewhere a queue is refused.

The test cluster knows neither Kueue nor `suspend` (Kubernetes 1.20 drops it, so here the Job runs at once). What a
suspended Job means is held by records (tests/app/runtimes/kubernetes/test_observations.py) and golden files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.core.errors import QueueUnavailable, RuntimeUnavailable
from app.core.specs import JobSpec
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.engines import KUEUE
from app.runtimes.kubernetes.manifests import QUEUE
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.contracts.runtime_actor import END, Act
from tests.contracts.runtime_bodies import exited, job, until

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
QUEUED = replace(job(Act(END)), queue="team-a")


@pytest.fixture
async def kueue(client: Client) -> AsyncIterator[None]:
    """A kind of Kueue's group, which is what makes `/apis` show it."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    names = {"plural": "pretences", "singular": "pretence", "kind": "Pretence"}
    version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
    kept = {"api-approved.kubernetes.io": "unapproved, a test"}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"pretences.{KUEUE}", "annotations": kept},
        "spec": {"group": KUEUE, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await client.create(CRDS, crd)

    async def shown() -> bool:
        return KUEUE in {group["name"] for group in (await client.get("/apis"))["groups"]}

    async def hidden() -> bool:
        return not await shown()

    try:
        await until(shown)
        yield
    finally:
        await client.delete(f"{CRDS}/pretences.{KUEUE}")
        await until(hidden)


async def admitted(runtime: KubernetesRuntime, spec: JobSpec) -> None:
    """Admit it as soon as it is known what the cluster serves."""

    async def known() -> bool:
        try:
            runtime.admit(spec)
        except RuntimeUnavailable:
            return False
        return True

    await until(known)


async def test_where_there_is_no_kueue_a_queue_is_refused(runtime: KubernetesRuntime) -> None:
    with pytest.raises(QueueUnavailable, match="Kueue"):
        await admitted(runtime, QUEUED)


async def test_where_there_is_no_kueue_the_default_queue_is_nothing(
    settings: KubernetesSettings, client: Client
) -> None:
    runtime = KubernetesRuntime(replace(settings, queue="default"))
    await runtime.start()
    try:
        await admitted(runtime, job(Act(END)))
        await runtime.apply(job(Act(END)))
        assert (await exited(runtime)).reason == "Completed"
        found = await client.get(client.path("batch/v1", "jobs", "train-a"))
        assert QUEUE not in found["metadata"]["labels"]
    finally:
        await runtime.close()


@pytest.mark.usefixtures("kueue")
async def test_where_there_is_kueue_a_job_asks_its_queue(settings: KubernetesSettings, client: Client) -> None:
    runtime = KubernetesRuntime(replace(settings, queue="default"))
    await runtime.start()
    try:
        await admitted(runtime, QUEUED)
        assert runtime.render(QUEUED)["spec"]["suspend"] is True  # type: ignore[index]
        await runtime.apply(QUEUED)
        await runtime.apply(job(Act(END), "train-b"))
        for name, queue in (("train-a", "team-a"), ("train-b", "default")):
            found = await client.get(client.path("batch/v1", "jobs", name))
            assert found["metadata"]["labels"][QUEUE] == queue
    finally:
        await runtime.close()
