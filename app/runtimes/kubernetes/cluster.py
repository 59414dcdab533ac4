"""What is known of the cluster: one watch a kind, and the tasks that their records make up."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.core.errors import RuntimeUnavailable
from app.runtimes.base import JobObservation, ServerObservation
from app.runtimes.kubernetes import jobs, records, servers
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import MANAGER
from app.runtimes.kubernetes.places import Gpus
from app.runtimes.kubernetes.reach import Reach
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.watch import Watch

_OURS = {"labelSelector": f"app.kubernetes.io/managed-by={MANAGER}"}
_COMPLAINTS = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate,type=Warning"}


class Cluster:
    """`changed` is called on the event loop after each change. Nothing here asks the API for one object."""

    def __init__(self, client: Client, gpus: int | None, reach: Reach, changed: Callable[[], None]) -> None:
        self._gpus = gpus
        self._reach = reach
        self._changed = changed
        self._by_task: dict[str, list[PodRecord]] | None = None
        self._gpus_now: Gpus | None = None
        self.health: dict[str, tuple[str, str]] = {}
        self.jobs = Watch(client, client.path("batch/v1", "jobs"), _OURS, records.job_record, self._forget)
        self.servers = Watch(client, client.path("apps/v1", "deployments"), _OURS, records.server_record, self._forget)
        self.pods = Watch(client, client.path("", "pods"), _OURS, records.pod_record, self._forget)
        self.events = Watch(client, client.path("", "events"), _COMPLAINTS, records.event_record, self._forget)
        self.nodes = Watch(client, "/api/v1/nodes", {}, records.node_record, self._forget)

    @property
    def _needed(self) -> list[Watch[Any]]:
        return [self.jobs, self.servers, self.pods]

    @property
    def watches(self) -> list[Watch[Any]]:
        """The nodes may not be shown to us: they are no part of a namespace. Then the settings say how many GPUs."""
        return [*self._needed, self.events, *([self.nodes] if self._gpus is None else [])]

    def _forget(self) -> None:
        self._by_task = self._gpus_now = None
        self._changed()

    async def synced(self, seconds: float) -> bool:
        """Wait until all is known that must be, and the rest was asked for; False if it takes too long."""
        try:
            async with asyncio.timeout(seconds):
                for watch in self.watches:
                    await (watch.synced if watch in self._needed else watch.tried).wait()
        except TimeoutError:
            return False
        return True

    @property
    def is_known(self) -> bool:
        return all(watch.synced.is_set() for watch in self._needed)

    def must_be_known(self) -> None:
        """Raises `RuntimeUnavailable` until the first lists have come."""
        for watch in self._needed:
            if not watch.synced.is_set():
                raise RuntimeUnavailable(f"The cluster has not been seen yet. {watch.trouble}".strip())

    @property
    def gpus(self) -> Gpus:
        if self._gpus_now is None:
            used = sum(pod.gpus for pod in self.pods.known.values() if pod.node and not pod.is_final)
            self._gpus_now = Gpus(self.gpu_total, used)
        return self._gpus_now

    @property
    def gpu_total(self) -> int | None:
        if self._gpus is not None:
            return self._gpus
        return sum(node.gpus for node in self.nodes.known.values()) if self.nodes.synced.is_set() else None

    def pods_of(self, name: str) -> list[PodRecord]:
        """Of a task's every run, the oldest first."""
        if self._by_task is None:
            found = defaultdict(list)
            for pod in sorted(self.pods.known.values(), key=lambda pod: (pod.run, pod.created, pod.name)):
                found[pod.task].append(pod)
            self._by_task = dict(found)
        return self._by_task.get(name, [])

    def job(self, name: str) -> JobObservation | None:
        job, pods = self.jobs.known.get(name), self.pods_of(name)
        if job is None and name in self.servers.known:
            return None
        complaint = next((one.message for one in self.events.known.values() if job and one.about == job.object_uid), "")
        pods = [pod for pod in pods if not pod.health_path]
        return jobs.observe(name, job, pods, complaint, self.gpus, datetime.now(UTC))

    def server(self, name: str) -> ServerObservation | None:
        server = self.servers.known.get(name)
        return servers.observe(server, self.pods_of(name), self.health, self.gpus, self._reach) if server else None
