"""The Kubernetes runtime: the port, kept with Jobs and Deployments of one namespace; its truth is the cluster's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from app.core.conditions import TerminationReason
from app.core.errors import ImageNotAllowed, LogNotFound, NeverFits, RuntimeUnavailable
from app.core.specs import JobSpec, ServerSpec
from app.runtimes.base import JobObservation, LogChunk, ProcessState, RuntimeCapabilities, ServerObservation
from app.runtimes.kubernetes import logs, manifests, records, servers
from app.runtimes.kubernetes.client import Absent, Client, Taken
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.engines import Engines
from app.runtimes.kubernetes.images import is_allowed
from app.runtimes.kubernetes.manifests import RUN_ID
from app.runtimes.kubernetes.manifests.pods import IMAGE_FROM_REQUEST
from app.runtimes.kubernetes.reach import reach
from app.runtimes.kubernetes.records import JobRecord, PodRecord, ServerRecord, Stop
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.runtimes.kubernetes.tending import Tender

_FIRST_SIGHT = 20.0  # seconds that a start waits for the cluster
_IN_ONE_GO = 500  # observations, before others have the event loop
_ORPHANING = 10.0  # seconds that a job which runs again waits for its earlier Job to go
log = structlog.get_logger(__name__)


def nothing() -> None:
    """The hook of one who does not want to be called."""


class KubernetesRuntime:
    """A `Runtime`. Several gateways may act on one namespace: what they do is atomic or harmless when repeated.

    `on_change` is called on the event loop when something may have changed. What runs outlives `close`.
    """

    def __init__(self, settings: KubernetesSettings, on_change: Callable[[], None] = nothing) -> None:
        self._settings = settings
        self._on_change = on_change
        self._client: Client | None = None
        self._known: Cluster | None = None
        self._tender: Tender | None = None
        self._engines: Engines | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch and to tend. Returns when the cluster has been seen, or does not answer for now.

        Raises `ConfigurationError` if there are no credentials.
        """
        self._client = await Client.connect(self._settings)
        way = reach(self._settings, self._client)
        self._known = Cluster(self._client, self._settings.gpus, way, self._changed)
        self._tender = Tender(self._client, self._known, way, self._settings, self._changed)
        self._engines = Engines(self._client, self._settings.queue)
        loops = [*(watch.run() for watch in self._known.watches), self._tender.run(), self._engines.run()]
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        for task in self._tasks:
            task.add_done_callback(_tell_end)
        if not await self._known.synced(_FIRST_SIGHT):
            silent = {one.path: one.trouble for one in self._known.watches if not one.synced.is_set()}
            log.warning("cluster_not_seen", watches=silent)

    async def close(self) -> None:
        """Stop acting. Jobs and servers go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        self._tasks, self._client, self._known, self._tender, self._engines = [], None, None, None, None

    def _changed(self) -> None:
        if self._tender is not None:
            self._tender.nudge()
        self._on_change()

    @property
    def _api(self) -> Client:
        if self._client is None:
            raise RuntimeUnavailable("The Kubernetes runtime has not been started.")
        return self._client

    @property
    def _cluster(self) -> Cluster:
        if self._known is None:
            raise RuntimeUnavailable("The Kubernetes runtime has not been started.")
        self._known.must_be_known()
        return self._known

    async def capabilities(self) -> RuntimeCapabilities:
        details = {"namespace": self._settings.namespace}
        gaps = (
            () if self._settings.work_claim else ("An interrupted job begins anew: its work folder goes with its pod.",)
        )
        return RuntimeCapabilities("kubernetes", self._cluster.gpu_total or 0, gaps, details)

    def admit(self, spec: JobSpec | ServerSpec) -> None:
        """Images bring the packages, so refused are images that nobody allowed, and what no node could ever hold."""
        if spec.labels.get(IMAGE_FROM_REQUEST) == "true" and not is_allowed(
            spec.program.image, self._settings.trainer_images
        ):
            raise ImageNotAllowed(spec.program.image, self._settings.trainer_images)
        if isinstance(spec, JobSpec):
            self._queued(spec)
        total = self._cluster.gpu_total
        if total is not None and spec.resources.gpus > total:
            raise NeverFits("GPU", str(spec.resources.gpus), str(total))

    def render(self, spec: JobSpec | ServerSpec) -> Mapping[str, object]:
        if isinstance(spec, JobSpec):
            return manifests.job(self._queued(spec), self._settings)
        return manifests.deployment(spec, self._settings)

    def _queued(self, spec: JobSpec) -> JobSpec:
        """With the queue that it will wait in. Raises what `Engines.queue_of` does."""
        if self._engines is None:
            raise RuntimeUnavailable("The Kubernetes runtime has not been started.")
        return replace(spec, queue=self._engines.queue_of(spec))

    async def apply(self, spec: JobSpec | ServerSpec) -> None:
        await (self._apply_job(self._queued(spec)) if isinstance(spec, JobSpec) else self._apply_server(spec))

    async def _apply_job(self, spec: JobSpec) -> None:
        """Creating never overwrites, so two gateways make one Job; what exists already is adopted or left alone."""
        before = self._cluster.pods_of(spec.name)
        _same_life(spec, [pod.uid for pod in before])
        run = 1 + max((pod.run for pod in before), default=0)
        path = self._api.path("batch/v1", "jobs")
        try:
            self._cluster.jobs.put(await self._api.create(path, manifests.job(spec, self._settings, run)))
        except Taken:
            kept = await self._kept_job(spec.name)
            _same_life(spec, [kept.uid], deleting=kept.deleting)
            seen = self._cluster.job(spec.name)
            if seen is not None and seen.reason == TerminationReason.INTERRUPTED and seen.termination is not None:
                await self._run_again(spec, kept)

    async def _kept_job(self, name: str) -> JobRecord:
        try:
            return self._cluster.jobs.put(await self._api.get(self._api.path("batch/v1", "jobs", name)))
        except Absent as error:
            raise RuntimeUnavailable(f"The Job {name} came and went just now; ask again.") from error

    async def _run_again(self, spec: JobSpec, ended: JobRecord) -> None:
        """A finished Job never runs again, so another takes its name. The pod stays behind with its log, and stands for
        the job in between: a gateway that is killed here finds the job interrupted still, and asks again."""
        path = self._api.path("batch/v1", "jobs")
        await self._api.delete(f"{path}/{spec.name}", "Orphan", ended.object_uid)
        manifest = manifests.job(spec, self._settings, ended.run + 1)
        deadline = asyncio.get_running_loop().time() + _ORPHANING
        while asyncio.get_running_loop().time() < deadline:
            try:
                self._cluster.jobs.put(await self._api.create(path, manifest))
                return
            except Taken:
                await asyncio.sleep(0.05)
        raise RuntimeUnavailable(f"The Job {spec.name} of the run before is not gone yet; ask again.")

    async def _apply_server(self, spec: ServerSpec) -> None:
        path = self._api.path("apps/v1", "deployments")
        try:
            self._cluster.servers.put(await self._api.create(path, manifests.deployment(spec, self._settings)))
        except Taken:
            kept = await self._kept_server(spec.name)
            _same_life(spec, [kept.uid], deleting=kept.deleting)
            if kept.digest != spec.digest:
                await self._roll_out(spec, kept)
            elif kept.wanted != spec.replicas:
                await self._scale(spec, kept)

    async def _roll_out(self, spec: ServerSpec, kept: ServerRecord) -> None:
        """The cluster does it: old pods go as new ones are ready. Without a free GPU for a new one, one makes room."""
        path = self._api.path("apps/v1", "deployments", spec.name)
        in_place = not self._cluster.room.has(spec.resources.gpus)
        patch = manifests.rollout(spec, self._settings, kept.object_uid, in_place=in_place)
        try:
            self._cluster.servers.put(await self._api.amend(path, patch))
        except (Absent, Taken) as error:
            raise RuntimeUnavailable(f"The Deployment {spec.name} changed just now; ask again.") from error

    async def _kept_server(self, name: str) -> ServerRecord:
        try:
            return self._cluster.servers.put(await self._api.get(self._api.path("apps/v1", "deployments", name)))
        except Absent as error:
            raise RuntimeUnavailable(f"The Deployment {name} came and went just now; ask again.") from error

    async def _scale(self, spec: ServerSpec, kept: ServerRecord) -> None:
        path = self._api.path("apps/v1", "deployments", spec.name)
        try:
            self._cluster.servers.put(await self._api.apply(path, manifests.scale(spec, kept.object_uid)))
        except (Absent, Taken) as error:
            raise RuntimeUnavailable(f"The Deployment {spec.name} changed just now; ask again.") from error

    async def observe_jobs(self, names: Collection[str]) -> Mapping[str, JobObservation]:
        found = {}
        for number, name in enumerate(names):
            if number % _IN_ONE_GO == _IN_ONE_GO - 1:
                await asyncio.sleep(0)
            if (seen := self._cluster.job(name)) is not None:
                found[name] = seen
        return found

    async def observe_servers(self, names: Collection[str]) -> Mapping[str, ServerObservation]:
        found = {name: self._cluster.server(name) for name in names}
        return {name: seen for name, seen in found.items() if seen is not None}

    async def note_run(self, name: str, run_id: str) -> None:
        path = self._api.path("batch/v1", "jobs", name)
        with contextlib.suppress(Absent):
            self._cluster.jobs.put(await self._api.merge(path, {"metadata": {"annotations": {RUN_ID: run_id}}}))

    async def stop(self, name: str) -> None:
        job = self._cluster.jobs.known.get(name)
        if job is None:
            try:  # another gateway may have made it just now
                job = records.job_record(await self._api.get(self._api.path("batch/v1", "jobs", name)), None)
            except Absent:
                return
        seen = self._cluster.job(name)
        if job.stop is not None or (seen is not None and seen.state is ProcessState.EXITED):
            return
        words = "It was stopped." if self._has_begun(name, job.run) else "It was stopped before it started."
        told = await self._tending.tell(name, Stop("Stopped", words, datetime.now(UTC)))
        if told is not None:
            await self._tending.tend(told)

    def _has_begun(self, name: str, run: int) -> bool:
        return any(pod.has_begun for pod in self._cluster.pods_of(name) if pod.run == run)

    @property
    def _tending(self) -> Tender:
        if self._tender is None:
            raise RuntimeUnavailable("The Kubernetes runtime has not been started.")
        return self._tender

    async def delete(self, name: str) -> None:
        """The pods that nothing owns first. Then what owns the rest, which stays until it is gone."""
        for pod in self._cluster.pods_of(name):
            if not pod.owned and not pod.deleting:
                await self._api.delete(self._api.path("", "pods", pod.name))
        await self._api.delete(self._api.path("batch/v1", "jobs", name))
        await self._api.delete(self._api.path("apps/v1", "deployments", name))

    async def read_log(self, name: str, *, replica: int = 0, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        seen = self._cluster.job(name)
        over = seen is not None and seen.state is ProcessState.EXITED
        return await logs.chunk(self._api, name, self._logged(name, replica), offset, limit, over)

    async def log_offset(
        self, name: str, *, replica: int = 0, tail_lines: int | None = None, since: datetime | None = None
    ) -> int:
        return await logs.offset_of(self._api, name, self._logged(name, replica), tail_lines, since)

    def _logged(self, name: str, replica: int) -> list[PodRecord]:
        """The pods whose logs make up this log."""
        pods = self._cluster.pods_of(name)
        if name in self._cluster.servers.known:
            return servers.replicas(pods)[replica : replica + 1]
        if replica != 0 or self._cluster.job(name) is None:
            raise LogNotFound(name)
        return pods

    async def check(self) -> None:
        """That the API serves, and that nothing of ours has died."""
        await self._api.get(self._api.path("", "pods"), {"limit": "1"})
        if any(task.done() for task in self._tasks):
            raise RuntimeUnavailable("A loop of the Kubernetes runtime has died.")


def _same_life(spec: JobSpec | ServerSpec, uids: Collection[str], *, deleting: bool = False) -> None:
    """Raises `RuntimeUnavailable` if another life holds the name."""
    if deleting or any(uid != spec.uid for uid in uids):
        raise RuntimeUnavailable(f"{spec.name} of an earlier life is not wholly gone yet; ask again.")


def _tell_end(task: asyncio.Task[None]) -> None:
    """The loops end when they are closed; anything else must not go unseen. `check` fails from then on."""
    if not task.cancelled() and (error := task.exception()):
        log.error("runtime.loop_died", exc_info=error)
