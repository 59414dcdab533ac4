"""A runtime on the real cluster, in a namespace that is empty before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.cluster.namespaces import a_namespace
from tests.cluster.platform import platform

__all__ = ["platform"]

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")


@pytest.fixture
async def settings() -> AsyncIterator[KubernetesSettings]:
    async with a_namespace() as settings:
        yield settings


@pytest.fixture
async def runtime(settings: KubernetesSettings) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(settings)
    await runtime.start()
    yield runtime
    await runtime.close()


@pytest.fixture
async def client(settings: KubernetesSettings) -> AsyncIterator[Client]:
    """For what somebody else does to the cluster."""
    client = await Client.connect(settings)
    yield client
    await client.close()
