"""What is known of the cluster: one watch a kind, and the tasks that their records make up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from app.core.errors import RuntimeUnavailable
from app.runtimes.base import JobObservation, ServerObservation
from app.runtimes.kubernetes import jobs, records, servers
from app.runtimes.kubernetes.asking import Words
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import MANAGER
from app.runtimes.kubernetes.places import UNSCHEDULABLE
from app.runtimes.kubernetes.reach import Reach
from app.runtimes.kubernetes.records import EventRecord, JobRecord, NodeRecord, PodRecord, ServerRecord
from app.runtimes.kubernetes.shortage import NodeRoom, Room
from app.runtimes.kubernetes.watch import Kept, Watch

_OURS = {"labelSelector": f"app.kubernetes.io/managed-by={MANAGER}"}
_COMPLAINTS = {"fieldSelector": "involvedObject.kind=Job,reason=FailedCreate,type=Warning"}


class Cluster:
    """`changed` is called on the event loop after each change. Nothing here asks the API for one object."""

    def __init__(self, client: Client, gpus: int | None, reach: Reach, changed: Callable[[], None]) -> None:
        self._gpus = gpus
        self._reach = reach
        self._changed = changed
        self._room: Room | None = None
        self._pods: ByTask[PodRecord] = ByTask()
        self._complaints: ByTask[EventRecord] = ByTask()
        self._seen: dict[str, tuple[Room, JobObservation]] = {}
        self._touched: set[str] = set()
        self.said: dict[str, Words] = {}  # by servers' pods, of themselves
        self.jobs = Watch(client, client.path("batch/v1", "jobs"), _OURS, records.job_record, self._job_changed)
        self.servers = Watch(
            client, client.path("apps/v1", "deployments"), _OURS, records.server_record, self._server_changed
        )
        self.pods = Watch(client, client.path("", "pods"), _OURS, records.pod_record, self._pod_changed)
        self.events = Watch(client, client.path("", "events"), _COMPLAINTS, records.event_record, self._event_changed)
        self.nodes = Watch(client, "/api/v1/nodes", {}, records.node_record, self._node_changed)

    @property
    def _needed(self) -> list[Watch[Any]]:
        return [self.jobs, self.servers, self.pods]

    @property
    def watches(self) -> list[Watch[Any]]:
        """The nodes may not be shown to us: they are no part of a namespace. Then the settings say how many GPUs."""
        return [*self._needed, self.events, *([self.nodes] if self._gpus is None else [])]

    def _job_changed(self, old: JobRecord | None, new: JobRecord | None) -> None:
        if one := new or old:
            self._touch(one.name)
        self._changed()

    def _pod_changed(self, old: PodRecord | None, new: PodRecord | None) -> None:
        if _place(old) != _place(new):
            self._room = None
        for name in self._pods.change(old, new):
            self._touch(name)
        self._changed()

    def _event_changed(self, old: EventRecord | None, new: EventRecord | None) -> None:
        for name in self._complaints.change(old, new):
            self._touch(name)
        self._changed()

    def _server_changed(self, old: ServerRecord | None, new: ServerRecord | None) -> None:
        self._changed()

    def _node_changed(self, old: NodeRecord | None, new: NodeRecord | None) -> None:
        if old is None or new is None or old.offers != new.offers:  # a node tells every few seconds that it lives
            self._room = None
            self._changed()

    def _touch(self, name: str) -> None:
        self._seen.pop(name, None)
        self._touched.add(name)

    def touched(self) -> list[JobRecord]:
        """The jobs that have changed since this was last asked."""
        found = [self.jobs.known[name] for name in self._touched if name in self.jobs.known]
        self._touched.clear()
        return found

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
    def room(self) -> Room:
        """What the nodes have, and what our pods leave of it."""
        if self._room is None:
            placed = [pod for pod in self.pods.known.values() if pod.node and not pod.is_final]
            cpu, memory = Counter[str](), Counter[str]()
            for pod in placed:
                cpu[pod.node] += pod.cpu
                memory[pod.node] += pod.memory
            nodes = [
                NodeRoom(one.cpu - cpu[one.name], one.cpu, one.memory - memory[one.name], one.memory)
                for one in self.nodes.known.values()
            ]
            self._room = Room(self.gpu_total, sum(pod.gpus for pod in placed), tuple(nodes))
        return self._room

    @property
    def gpu_total(self) -> int | None:
        if self._gpus is not None:
            return self._gpus
        return sum(node.gpus for node in self.nodes.known.values()) if self.nodes.synced.is_set() else None

    def pods_of(self, name: str) -> list[PodRecord]:
        """Of a task's every run, the oldest first."""
        return sorted(self._pods.of(name), key=lambda pod: (pod.run, pod.created, pod.name))

    def job(self, name: str) -> JobObservation | None:
        """What was made of the records stands until they change; how long a job takes to stop is a matter of time."""
        room, job = self.room, self.jobs.known.get(name)
        seen_with, seen = self._seen.get(name, (room, None))
        is_outdated = seen is None or (seen.reason == UNSCHEDULABLE and seen_with != room)
        if is_outdated or (job is not None and job.stop is not None):
            seen = self._observe(name, job, room)
            if seen is not None:
                self._seen[name] = room, seen
        return seen

    def _observe(self, name: str, job: JobRecord | None, room: Room) -> JobObservation | None:
        if job is None and name in self.servers.known:
            return None
        complaints = self._complaints.of(name) if job else ()
        complaint = next((one.message for one in complaints if job and one.about == job.object_uid), "")
        pods = [pod for pod in self.pods_of(name) if not pod.health_path]
        return jobs.observe(name, job, pods, complaint, room, datetime.now(UTC))

    def server(self, name: str) -> ServerObservation | None:
        server = self.servers.known.get(name)
        return servers.observe(server, self.pods_of(name), self.said, self.room, self._reach) if server else None


class OfTask(Kept, Protocol):
    @property
    def task(self) -> str: ...


T = TypeVar("T", bound=OfTask)


class ByTask(Generic[T]):
    """The records of every task, found without a look at the others."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, T]] = {}

    def of(self, task: str) -> Collection[T]:
        return self._found.get(task, {}).values()

    def change(self, old: T | None, new: T | None) -> set[str]:
        """Keep `new` in the place of `old`. Returns the tasks that this concerns."""
        if old is not None:
            left = self._found.get(old.task, {})
            left.pop(old.name, None)
            if not left:
                self._found.pop(old.task, None)
        if new is not None:
            self._found.setdefault(new.task, {})[new.name] = new
        return {one.task for one in (old, new) if one is not None}


def _place(pod: PodRecord | None) -> tuple[object, ...] | None:
    """What a pod takes of which node."""
    return (pod.node, pod.gpus, pod.cpu, pod.memory) if pod is not None and pod.node and not pod.is_final else None
