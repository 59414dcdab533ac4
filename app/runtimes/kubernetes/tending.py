"""Tending: what the cluster does not do by itself. Jobs that were told to stop are brought to their end with all that
they wrote, jobs that cannot start, run too long or lost their node end in time, what an earlier run left behind is
given to the Job that follows it.

How a job is stopped: its pod gets a deadline of one second. So the node ends the container with its full grace, and
the pod stays, with its log and its termination message; deleting the pod, or parallelism 0, would take both with it.
A job whose container has not begun is held by parallelism 0: there is nothing to keep, and no node yet to act.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import structlog

from app.core.errors import InvalidRequest, RuntimeUnavailable
from app.core.nudge import Nudge
from app.runtimes.base import ProcessState
from app.runtimes.kubernetes.client import Absent, Client, Taken
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.jobs import must_end
from app.runtimes.kubernetes.manifests import STOP, rolling
from app.runtimes.kubernetes.reach import Reach
from app.runtimes.kubernetes.records import JobRecord, PodRecord, Stop
from app.runtimes.kubernetes.servers import must_make_room
from app.runtimes.kubernetes.settings import KubernetesSettings

_BREATH = 0.05  # seconds in which changes gather
_IN_ONE_GO = 500  # jobs, before others have the event loop
log = structlog.get_logger(__name__)


class Tender:
    """Level-triggered and repeatable: several gateways may tend the same tasks."""

    def __init__(
        self, client: Client, cluster: Cluster, reach: Reach, settings: KubernetesSettings, changed: Callable[[], None]
    ) -> None:
        self._client, self._cluster, self._reach, self._changed = client, cluster, reach, changed
        self._period, self._node_patience = settings.period, settings.node_patience
        self.nudge = Nudge()

    async def run(self) -> None:
        """Look at what changed at each change, and at all of it each period, until cancelled."""
        looked_at_all = 0.0
        try:
            while True:
                await self.nudge.wait(self._period)
                if self._cluster.is_known:  # a job whose pod is not seen yet would be taken for one that never began
                    jobs = self._cluster.touched()
                    if time.monotonic() - looked_at_all >= self._period:
                        jobs, looked_at_all = list(self._cluster.jobs.known.values()), time.monotonic()
                    await self._look(jobs)
                await asyncio.sleep(_BREATH)
        finally:
            await self._reach.close()

    async def _look(self, jobs: Iterable[JobRecord]) -> None:
        await self._pave()
        await self._make_room()
        try:
            for number, job in enumerate(job for job in jobs if not job.over):
                if number % _IN_ONE_GO == 0:
                    await asyncio.sleep(0)
                await self.tend(job)
            for pod, job in self._left_behind():
                await self._adopt(pod, job)
        except RuntimeUnavailable as outage:
            log.warning("tending_postponed", cause=str(outage))

    async def tend(self, job: JobRecord) -> None:
        """One step nearer to its end, for a job that shall end."""
        seen = self._cluster.job(job.name)
        if job.deleting or seen is None or seen.state is ProcessState.EXITED:
            return
        pods = self._cluster.pods_of(job.name)
        if stop := must_end(job, pods, seen, datetime.now(UTC), self._node_patience):
            job = await self.tell(job.name, stop) or job
        if job.stop is not None:
            with contextlib.suppress(Absent):
                await self._end(job, [pod for pod in pods if pod.run == job.run])

    async def tell(self, name: str, stop: Stop) -> JobRecord | None:
        """Write down that this job shall stop: from then on every gateway brings it to its end."""
        path = self._client.path("batch/v1", "jobs", name)
        with contextlib.suppress(Absent):
            return self._cluster.jobs.put(
                await self._client.merge(path, {"metadata": {"annotations": {STOP: stop.text()}}})
            )
        return None

    async def _end(self, job: JobRecord, pods: Iterable[PodRecord]) -> None:
        begun = [pod for pod in pods if pod.has_begun]
        if not begun and not job.held:
            path = self._client.path("batch/v1", "jobs", job.name)
            self._cluster.jobs.put(await self._client.merge(path, {"spec": {"parallelism": 0}}))
        for pod in begun:
            if not pod.bounded and not pod.is_over and not pod.deleting:
                path = self._client.path("", "pods", pod.name)
                self._cluster.pods.put(await self._client.merge(path, {"spec": {"activeDeadlineSeconds": 1}}))

    async def _pave(self) -> None:
        """See to it that servers can be reached."""
        try:
            made = [await self._reach.prepare(server) for server in list(self._cluster.servers.known.values())]
        except (RuntimeUnavailable, InvalidRequest) as trouble:
            log.warning("servers_out_of_reach", cause=str(trouble))
            return
        if any(made):
            self._changed()

    def _left_behind(self) -> list[tuple[PodRecord, JobRecord]]:
        """Pods of earlier runs, which a Job of the same name has followed."""
        jobs = self._cluster.jobs.known
        orphans = [pod for pod in self._cluster.pods.known.values() if not pod.owned and not pod.deleting]
        pairs = [(pod, jobs[pod.task]) for pod in orphans if pod.task in jobs]
        return [(pod, job) for pod, job in pairs if pod.uid == job.uid and pod.run < job.run and not job.deleting]

    async def _adopt(self, pod: PodRecord, job: JobRecord) -> None:
        """Let the Job own it, so that whoever deletes the Job, by hand too, leaves nothing. It is no controller of it:
        the pod counts for no completion."""
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.object_uid}
        path = self._client.path("", "pods", pod.name)
        with contextlib.suppress(Absent):
            self._cluster.pods.put(await self._client.merge(path, {"metadata": {"ownerReferences": [owner]}}))

    async def _make_room(self) -> None:
        """A rollout that waits for the GPU of an old pod goes on in the place of that pod."""
        for server in list(self._cluster.servers.known.values()):
            if must_make_room(server, self._cluster.pods_of(server.name)):
                path = self._client.path("apps/v1", "deployments", server.name)
                patch = {"metadata": {"uid": server.object_uid}, "spec": {"strategy": rolling(in_place=True)}}
                with contextlib.suppress(Absent, Taken, RuntimeUnavailable):  # then at the next look
                    self._cluster.servers.put(await self._client.amend(path, patch))
