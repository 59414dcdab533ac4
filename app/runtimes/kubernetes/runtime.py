"""The Kubernetes runtime: the port, kept with Jobs and Deployments of one namespace; its truth is the cluster's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from app.archive.base import Archive
from app.core.errors import ImageNotAllowed, NeverFits, RuntimeUnavailable
from app.core.specs import JobSpec, ServerSpec
from app.runtimes.base import JobObservation, LogChunk, ProcessState, RuntimeCapabilities, ServerObservation, Story
from app.runtimes.kubernetes import logs, manifests, records
from app.runtimes.kubernetes.asking import Asker
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.engines import Engines
from app.runtimes.kubernetes.images import is_allowed
from app.runtimes.kubernetes.launching import Launcher
from app.runtimes.kubernetes.logs import Logs
from app.runtimes.kubernetes.manifests import INSTANCE, RUN_ID
from app.runtimes.kubernetes.manifests.pods import IMAGE_FROM_REQUEST
from app.runtimes.kubernetes.reach import reach
from app.runtimes.kubernetes.records import Stop
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.runtimes.kubernetes.stories import Stories
from app.runtimes.kubernetes.tending import Tender

_FIRST_SIGHT = 20.0  # seconds that a start waits for the cluster
_IN_ONE_GO = 500  # observations, before others have the event loop
log = structlog.get_logger(__name__)


def nothing() -> None:
    """The hook of one who does not want to be called."""


class KubernetesRuntime:
    """A `Runtime`. Several gateways may act on one namespace: what they do is atomic or harmless when repeated.

    `on_change` is called on the event loop when something may have changed. What runs outlives `close`.
    Into `archive` go the logs, so that they outlive their pods; without one they end with them. `ships` says
    whether this gateway shall ship them; with several that do the logs are the same, and the work is more.
    """

    def __init__(
        self, settings: KubernetesSettings, on_change: Callable[[], None] = nothing, archive: Archive | None = None
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._archive = archive
        self._logs: Logs | None = None
        self.ships: Callable[[], bool] = lambda: True
        self._client: Client | None = None
        self._known: Cluster | None = None
        self._tender: Tender | None = None
        self._asker: Asker | None = None
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
        pods, period = self._known.pods, self._settings.period
        self._asker = Asker(self._client, lambda: pods.known, self._known.said, way, period, self._changed)
        self._engines = Engines(self._client, self._settings.queue)
        self._stories = Stories(self._client, self._known, self._archive)
        self._logs = await logs.connect(
            self._settings, self._client, self._known, self._archive, self._stories, lambda: self.ships()
        )
        loops = [watch.run() for watch in self._known.watches]
        loops += [self._tender.run(), self._asker.run(), self._engines.run(), *self._logs.loops()]
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
        if self._logs is not None:
            await self._logs.close()
        if self._client is not None:
            await self._client.close()
        self._tasks, self._client, self._known = [], None, None
        self._tender, self._asker, self._engines, self._logs = None, None, None, None

    def _changed(self) -> None:
        if self._tender is not None:
            self._tender.nudge()
        if self._asker is not None:
            self._asker.nudge()
        if self._logs is not None:
            self._logs.nudge()
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
        gaps: tuple[str, ...] = (
            () if self._settings.work_claim else ("An interrupted job begins anew: its work folder goes with its pod.",)
        )
        gaps += () if self._archive else ("A log ends with its pod: set MLOPS_LOGS__URL to keep logs.",)
        return RuntimeCapabilities("kubernetes", self._cluster.gpu_total or 0, gaps, details)

    def admit(self, spec: JobSpec | ServerSpec) -> None:
        """Images bring the packages, so refused are images that nobody allowed, and what no node could ever hold."""
        if spec.labels.get(IMAGE_FROM_REQUEST) == "true" and not is_allowed(
            spec.program.image, self._settings.image_places
        ):
            raise ImageNotAllowed(spec.program.image, self._settings.image_places)
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
        launcher = Launcher(self._api, self._cluster, self._settings)
        await (launcher.job(self._queued(spec)) if isinstance(spec, JobSpec) else launcher.server(spec))

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

    async def exists(self, name: str) -> bool:
        try:
            self._cluster.jobs.put(await self._api.get(self._api.path("batch/v1", "jobs", name)))
        except Absent:
            pods = await self._api.get(
                self._api.path("", "pods"), {"labelSelector": f"{INSTANCE}={name}", "limit": "1"}
            )
            return bool(pods["items"])
        return True

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
        await self._log.remove(name)

    async def read_log(self, name: str, *, replica: int = 0, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        return await self._log.chunk(name, replica, offset, max(0, limit))

    async def log_offset(
        self, name: str, *, replica: int = 0, tail_lines: int | None = None, since: datetime | None = None
    ) -> int:
        return await self._log.offset_of(name, replica, tail_lines, since)

    @property
    def _log(self) -> Logs:
        self._cluster  # noqa: B018 - raises until it is known
        if self._logs is None:
            raise RuntimeUnavailable("The Kubernetes runtime has not been started.")
        return self._logs

    async def story(self, name: str) -> Story:
        self._cluster  # noqa: B018 - raises until it is known
        return await self._stories.of(name)

    async def check(self) -> None:
        """That the API serves, and that nothing of ours has died."""
        await self._api.get(self._api.path("", "pods"), {"limit": "1"})
        if any(task.done() for task in self._tasks):
            raise RuntimeUnavailable("A loop of the Kubernetes runtime has died.")


def _tell_end(task: asyncio.Task[None]) -> None:
    """The loops end when they are closed; anything else must not go unseen. `check` fails from then on."""
    if not task.cancelled() and (error := task.exception()):
        log.error("runtime.loop_died", exc_info=error)
