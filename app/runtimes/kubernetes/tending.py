"""Tending: what the cluster does not do by itself. Jobs that were told to stop are brought to their end with all that
they wrote, jobs that cannot start end in time, and servers that are not ready are asked why.

How a job is stopped: its pod gets a deadline of one second. So the node ends the container with its full grace, and
the pod stays, with its log and its termination message; deleting the pod, or parallelism 0, would take both with it.
A job whose container has not begun is held by parallelism 0: there is nothing to keep, and no node yet to act.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from app.runtimes.kubernetes.termination import clean

_BREATH = 0.05  # seconds in which changes gather
log = structlog.get_logger(__name__)


class Tender:
    """Level-triggered and repeatable: several gateways may tend the same tasks."""

    def __init__(
        self, client: Client, cluster: Cluster, reach: Reach, period: float, changed: Callable[[], None]
    ) -> None:
        self._client, self._cluster, self._reach = client, cluster, reach
        self._period, self._changed = period, changed
        self.nudge = Nudge()

    async def run(self) -> None:
        """Look at each change and each period, until cancelled."""
        try:
            while True:
                await self.nudge.wait(self._period)
                await self._look()
                await asyncio.sleep(_BREATH)
        finally:
            await self._reach.close()

    async def _look(self) -> None:
        if not self._cluster.is_known:  # a job whose pod is not seen yet would be taken for one that never began
            return
        await asyncio.gather(self._pave(), *(self._ask(pod) for pod in self._unready()))
        await self._make_room()
        for job in [job for job in self._cluster.jobs.known.values() if not job.over]:
            try:
                await self.tend(job)
            except RuntimeUnavailable as outage:
                log.warning("tending_postponed", job=job.name, cause=str(outage))
                return

    async def tend(self, job: JobRecord) -> None:
        """One step nearer to its end, for a job that shall end."""
        seen = self._cluster.job(job.name)
        if job.deleting or seen is None or seen.state is ProcessState.EXITED:
            return
        pods = self._cluster.pods_of(job.name)
        if stop := must_end(job, pods, seen, datetime.now(UTC)):
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

    async def _make_room(self) -> None:
        """A rollout that waits for the GPU of an old pod goes on in the place of that pod."""
        for server in list(self._cluster.servers.known.values()):
            if must_make_room(server, self._cluster.pods_of(server.name)):
                path = self._client.path("apps/v1", "deployments", server.name)
                patch = {"metadata": {"uid": server.object_uid}, "spec": {"strategy": rolling(in_place=True)}}
                with contextlib.suppress(Absent, Taken, RuntimeUnavailable):  # then at the next look
                    self._cluster.servers.put(await self._client.amend(path, patch))

    def _unready(self) -> list[PodRecord]:
        pods = self._cluster.pods.known
        for name in set(self._cluster.health) - set(pods):
            del self._cluster.health[name]
        return [pod for pod in pods.values() if pod.health_path and pod.running_since and pod.ip and not pod.ready]

    async def _ask(self, pod: PodRecord) -> None:
        """The cluster's probes keep the status and drop the words, so we ask for those."""
        said = await self._reach.ask(pod)
        if said is not None and "reason" in said and "message" in said:
            self._cluster.health[pod.name] = (clean(str(said["reason"]))[:64], clean(str(said["message"])))
        else:
            self._cluster.health.pop(pod.name, None)
