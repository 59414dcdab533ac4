"""Shipping: the logs of all pods into the archive while they are written.

Any gateway may ship, and correctness does not depend on which: a link of a chain can be written once, so of two who
ship the same log one loses, stands back, and goes on from where the other came to. `acts` only spares the work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping

import structlog

from app.archive.base import Archive, Occupied
from app.archive.chain import Chain
from app.core.errors import ArchiveUnavailable, RuntimeUnavailable
from app.core.nudge import Nudge
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.following import Follower, Pace, Source, close_lost
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.stories import Stories

_BREATH = 0.1  # seconds in which changes gather
_STAND_BACK = 3.0  # seconds after another gateway was faster
_BUDGET, _LARGEST, _SMALLEST = 32 << 20, 1 << 20, 32 << 10  # bytes held back by all followers, and by one
_WRITES = 50  # a second, by all followers, while all their logs grow
_SOONEST = 0.25  # seconds after which a line is written
log = structlog.get_logger(__name__)


def prefix_of(namespace: str, pod: PodRecord) -> str:
    """Of the chain that a pod's log belongs to: a job has one for all its pods, a server's replica one for itself."""
    place = pod.name if pod.health_path else "job"
    return f"{namespace}/{pod.task}/{pod.uid}/{place}/"


def sources_of(pod: PodRecord) -> list[Source]:
    """Whose logs a node still has: of the container that runs or ended last, and of the one before."""
    return [Source(pod.name, restart) for restart in range(max(0, pod.restarts - 1), pod.restarts + 1)]


class Shipper:
    """`client` is for streams: there is one open for every container that runs."""

    def __init__(
        self, client: Client, cluster: Cluster, archive: Archive, stories: Stories, acts: Callable[[], bool],
        period: float,
    ) -> None:  # fmt: skip
        self._client, self._cluster, self._archive, self._acts, self._period = client, cluster, archive, acts, period
        self._stories = stories
        self._chores: dict[str, asyncio.Task[None]] = {}
        self._followers: dict[str, Follower] = {}
        self._done: set[Source] = set()
        self._dropped: set[str] = set()
        self.nudge = Nudge()

    async def run(self) -> None:
        """Look at each change and each period, until cancelled."""
        try:
            while True:
                await self.nudge.wait(self._period)
                if self._cluster.is_known:
                    await self._look()
                await asyncio.sleep(_BREATH)
        finally:
            await self._end(list(self._chores))

    async def drop(self, name: str) -> None:
        """Ship no more of this task: its log is about to be removed."""
        prefixes = {prefix_of(self._client.namespace, pod) for pod in self._cluster.pods_of(name)}
        self._dropped |= prefixes
        await self._end(prefixes)

    async def _look(self) -> None:
        if not self._acts():
            await self._end(list(self._chores))
            return
        living = self._cluster.pods.known
        self._done = {source for source in self._done if source.pod in living}
        for prefix in [prefix for prefix, chore in self._chores.items() if chore.done()]:
            del self._chores[prefix]
        for pod in living.values():
            if pod.has_begun and Source(pod.name, pod.restarts) not in self._done and self._is_kept(pod):
                prefix = prefix_of(self._client.namespace, pod)
                if prefix not in self._chores and prefix not in self._dropped:
                    self._chores[prefix] = asyncio.create_task(self._chore(prefix, pod.task))

    def _is_kept(self, pod: PodRecord) -> bool:
        """What is deleted as a whole is deleted with its log."""
        owner = (self._cluster.servers if pod.health_path else self._cluster.jobs).known.get(pod.task)
        return bool(pod.uid) and not (owner is not None and owner.uid == pod.uid and owner.deleting)

    async def _end(self, prefixes: Iterable[str]) -> None:
        chores = [chore for prefix in prefixes if (chore := self._chores.pop(prefix, None)) is not None]
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    def _pace(self) -> Pace:
        """The more logs grow, the more is written at once."""
        count = max(1, len(self._followers))
        return Pace(max(_SMALLEST, min(_LARGEST, _BUDGET // count)), max(_SOONEST, count / _WRITES))

    async def _chore(self, prefix: str, task: str) -> None:
        while True:
            try:
                await self._ship(prefix, task)
                return
            except Occupied:
                log.info("log_shipped_by_another", log=prefix)
            except (ArchiveUnavailable, RuntimeUnavailable) as outage:
                log.warning("log_shipping_postponed", log=prefix, cause=str(outage))
            await asyncio.sleep(_STAND_BACK * random.uniform(0.5, 1.5))

    async def _ship(self, prefix: str, task: str) -> None:
        """One source after the other: the offsets of a run begin where those of the run before end."""
        chain = Chain(self._archive, prefix)
        await chain.refresh()
        for gone in lost(chain, self._cluster.pods.known):
            await close_lost(chain, gone, "its pod was gone before it was read to its end.")
        for pod in self._cluster.pods_of(task):
            if pod.has_begun and prefix_of(self._client.namespace, pod) == prefix:
                for source in sources_of(pod):
                    if str(source) not in chain.over:
                        await self._follow(chain, source, pod)
                    self._done.add(source)
        if not self._grows(prefix, task):
            await chain.join()

    async def _follow(self, chain: Chain, source: Source, pod: PodRecord) -> None:
        def look() -> PodRecord | None:
            return self._cluster.pods.known.get(source.pod)

        async def tell() -> None:
            try:
                await self._stories.keep(look() or pod)
            except RuntimeUnavailable as outage:
                log.warning("story_incomplete", source=str(source), cause=str(outage))

        gap = _gap_before(chain, source)
        follower = Follower(self._client, chain, source, look, self._pace, tell, gap)
        self._followers[str(source)] = follower
        try:
            await follower.run()
        finally:
            del self._followers[str(source)]

    def _grows(self, prefix: str, task: str) -> bool:
        pods = [pod for pod in self._cluster.pods_of(task) if prefix_of(self._client.namespace, pod) == prefix]
        return any(not pod.is_over for pod in pods)


def _gap_before(chain: Chain, source: Source) -> str:
    """Why the log of this container does not follow on what is kept."""
    if str(source) in chain.begun:
        return ""
    before = [int(known.rpartition(".")[2]) for known in chain.begun if known.rpartition(".")[0] == source.pod]
    unseen = source.restart - 1 - max(before, default=-1)
    return f"its program was started {unseen} times before anybody read what it wrote." if unseen > 0 else ""


def lost(chain: Chain, living: Mapping[str, PodRecord]) -> list[str]:
    """Sources that were not read to their end, and that no node has any more."""
    found = []
    for source in sorted(chain.begun - chain.over):
        name, _, restart = source.rpartition(".")
        pod = living.get(name)
        if pod is None or int(restart) < pod.restarts - 1:
            found.append(source)
    return found
