"""Launching: specs made into Jobs and Deployments, changed or run again; two gateways may do it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from app.core.conditions import TerminationReason
from app.core.errors import RuntimeUnavailable
from app.core.specs import JobSpec, ServerSpec
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.client import Absent, Client, Taken
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.records import JobRecord, ServerRecord
from app.runtimes.kubernetes.settings import KubernetesSettings

_ORPHANING = 10.0  # seconds that a job which runs again waits for its earlier Job to go


class Launcher:
    """The port's `apply`, for jobs and for servers."""

    def __init__(self, client: Client, cluster: Cluster, settings: KubernetesSettings) -> None:
        self._client, self._cluster, self._settings = client, cluster, settings

    async def job(self, spec: JobSpec) -> None:
        """Creating never overwrites, so two gateways make one Job; what exists already is adopted or left alone."""
        before = self._cluster.pods_of(spec.name)
        _same_life(spec, [pod.uid for pod in before])
        run = 1 + max((pod.run for pod in before), default=0)
        path = self._client.path("batch/v1", "jobs")
        try:
            self._cluster.jobs.put(await self._client.create(path, manifests.job(spec, self._settings, run)))
        except Taken:
            kept = await self._kept_job(spec.name)
            _same_life(spec, [kept.uid], deleting=kept.deleting)
            seen = self._cluster.job(spec.name)
            if seen is not None and seen.reason == TerminationReason.INTERRUPTED and seen.termination is not None:
                await self._run_again(spec, kept)

    async def _kept_job(self, name: str) -> JobRecord:
        try:
            return self._cluster.jobs.put(await self._client.get(self._client.path("batch/v1", "jobs", name)))
        except Absent as error:
            raise RuntimeUnavailable(f"The Job {name} came and went just now; ask again.") from error

    async def _run_again(self, spec: JobSpec, ended: JobRecord) -> None:
        """A finished Job never runs again, so another takes its name. The pod stays behind with its log, and stands for
        the job in between: a gateway that is killed here finds the job interrupted still, and asks again."""
        path = self._client.path("batch/v1", "jobs")
        await self._client.delete(f"{path}/{spec.name}", "Orphan", ended.object_uid)
        manifest = manifests.job(spec, self._settings, ended.run + 1)
        deadline = asyncio.get_running_loop().time() + _ORPHANING
        while asyncio.get_running_loop().time() < deadline:
            try:
                self._cluster.jobs.put(await self._client.create(path, manifest))
                return
            except Taken:
                await asyncio.sleep(0.05)
        raise RuntimeUnavailable(f"The Job {spec.name} of the run before is not gone yet; ask again.")

    async def server(self, spec: ServerSpec) -> None:
        path = self._client.path("apps/v1", "deployments")
        try:
            self._cluster.servers.put(await self._client.create(path, manifests.deployment(spec, self._settings)))
        except Taken:
            kept = await self._kept_server(spec.name)
            _same_life(spec, [kept.uid], deleting=kept.deleting)
            if kept.digest != spec.digest:
                await self._roll_out(spec, kept)
            elif kept.wanted != spec.replicas:
                await self._scale(spec, kept)

    async def _roll_out(self, spec: ServerSpec, kept: ServerRecord) -> None:
        """The cluster does it: old pods go as new ones are ready. Without a free GPU for a new one, one makes room."""
        path = self._client.path("apps/v1", "deployments", spec.name)
        in_place = not self._cluster.room.has(spec.resources.gpus)
        patch = manifests.rollout(spec, self._settings, kept.object_uid, in_place=in_place)
        try:
            self._cluster.servers.put(await self._client.amend(path, patch))
        except (Absent, Taken) as error:
            raise RuntimeUnavailable(f"The Deployment {spec.name} changed just now; ask again.") from error

    async def _kept_server(self, name: str) -> ServerRecord:
        try:
            return self._cluster.servers.put(await self._client.get(self._client.path("apps/v1", "deployments", name)))
        except Absent as error:
            raise RuntimeUnavailable(f"The Deployment {name} came and went just now; ask again.") from error

    async def _scale(self, spec: ServerSpec, kept: ServerRecord) -> None:
        path = self._client.path("apps/v1", "deployments", spec.name)
        try:
            self._cluster.servers.put(await self._client.apply(path, manifests.scale(spec, kept.object_uid)))
        except (Absent, Taken) as error:
            raise RuntimeUnavailable(f"The Deployment {spec.name} changed just now; ask again.") from error


def _same_life(spec: JobSpec | ServerSpec, uids: Collection[str], *, deleting: bool = False) -> None:
    """Raises `RuntimeUnavailable` if another life holds the name."""
    if deleting or any(uid != spec.uid for uid in uids):
        raise RuntimeUnavailable(f"{spec.name} of an earlier life is not wholly gone yet; ask again.")
