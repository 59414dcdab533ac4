"""A namespace on the cluster that KUBECONFIG names, empty before and after, with a folder for the work of jobs."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from app.runtimes.kubernetes.client import Client, Taken
from app.runtimes.kubernetes.settings import KubernetesSettings

NAMESPACE = os.environ.get("MODELYARD_TEST_NAMESPACE", "modelyard-tests")
CLAIM = "work"
FOLDER = Path("/var/tmp") / NAMESPACE  # the one node is this machine
_SHARED = {"storageClassName": "manual", "accessModes": ["ReadWriteMany"]}
_SIZE = {"storage": "1Gi"}
UNPROVED = (
    "KUBECONFIG names no cluster, so it stays unproved that the Kubernetes runtime works on a real one: start one, "
    "build tests/cluster/actor.Dockerfile from tests/contracts into it as localhost/actor:2, give its node 2 GPUs."
)


def cluster_settings() -> KubernetesSettings:
    """Of the cluster that is there; skips the test if there is none."""
    found = os.environ.get("KUBECONFIG", "")
    if not found or not Path(found).exists():
        pytest.skip(UNPROVED)
    return KubernetesSettings(
        NAMESPACE, Path(found), pull_policy="IfNotPresent", work_claim=CLAIM, job_grace=5, server_grace=5, drain=1
    )


@asynccontextmanager
async def a_namespace() -> AsyncIterator[KubernetesSettings]:
    settings = cluster_settings()
    client = await Client.connect(settings)
    try:
        await _furnish(client)
        await _empty(client)
        shutil.rmtree(FOLDER / "jobs", ignore_errors=True)
        yield settings
        await _empty(client)
    finally:
        await client.close()


async def _furnish(client: Client) -> None:
    with suppress(Taken):
        await client.create(
            "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        )
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{NAMESPACE}-{CLAIM}"},
        "spec": _SHARED | {"capacity": _SIZE, "hostPath": {"path": str(FOLDER), "type": "Directory"}},
    }
    FOLDER.mkdir(exist_ok=True)
    FOLDER.chmod(0o777)  # programs run as a user without rights here
    with suppress(Taken):
        await client.create("/api/v1/persistentvolumes", volume)
    wanted = _SHARED | {"resources": {"requests": _SIZE}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM}, "spec": wanted}
    with suppress(Taken):
        await client.create(client.path("", "persistentvolumeclaims"), claim)


async def _empty(client: Client) -> None:
    """Remove every job and server, and wait until their pods are gone: GPUs come back only then."""
    places = [client.path("batch/v1", "jobs"), client.path("apps/v1", "deployments"), client.path("", "pods")]
    async with asyncio.timeout(120):
        while left := [f"{place}/{one}" for place in places for one in await _names(client, place)]:
            for path in left:
                await client.delete(path)
            await asyncio.sleep(0.2)


async def _names(client: Client, path: str) -> list[str]:
    return [item["metadata"]["name"] async for page in client.pages(path, {}) for item in page["items"]]
