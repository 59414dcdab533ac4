"""Logs that outlive their pods: shipped by whoever acts, and read from the archive by every gateway alike.

What is read is what was written there, so an offset means the same to all: no gateway serves what it alone has seen.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any

from app.archive.base import Archive, Occupied
from app.archive.chain import Chain
from app.archive.finding import offset_of
from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.following import Source, close_lost
from app.runtimes.kubernetes.logs import is_over, pods_of_log
from app.runtimes.kubernetes.shipping import Shipper, lost, prefix_of
from app.runtimes.kubernetes.stories import Stories

_CHAINS = 256  # that are remembered
_FIRST_BYTES, _LAST_BYTES = 2.0, 5.0  # seconds that a reader waits for what is surely being shipped
_POLL = 0.05
_LOST = "its pod was gone before it was read to its end."


class KeptLogs:
    """`client` is for streams, and closed with this."""

    def __init__(
        self, client: Client, cluster: Cluster, archive: Archive, stories: Stories, period: float,
        ships: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._client, self._cluster, self._archive = client, cluster, archive
        self._shipper = Shipper(client, cluster, archive, stories, ships, period)
        self._chains: OrderedDict[str, Chain] = OrderedDict()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        return [self._shipper.run()]

    def nudge(self) -> None:
        self._shipper.nudge()

    async def close(self) -> None:
        await self._client.close()

    async def chunk(self, name: str, replica: int, offset: int, limit: int) -> LogChunk:
        chain, over = await self._seen(name, replica, offset + limit)
        content = await chain.read(offset, limit)
        end = offset + len(content)
        self._chains[chain.prefix] = chain
        if len(self._chains) > _CHAINS:
            self._chains.popitem(last=False)
        return LogChunk(offset, content, end, finished=over and end >= chain.end)

    async def offset_of(self, name: str, replica: int, tail_lines: int | None, since: datetime | None) -> int:
        chain, _ = await self._seen(name, replica, None)
        return await offset_of(chain, tail_lines, since)

    async def remove(self, name: str) -> None:
        await self._shipper.drop(name)
        prefix = f"{self._client.namespace}/{name}/"
        await self._archive.delete([entry.key for entry in await self._archive.entries(prefix)])

    async def _seen(self, name: str, replica: int, wanted: int | None) -> tuple[Chain, bool]:
        """The chain as it is, ours alone, and whether it is whole. Waits a little for the first bytes, and for the
        last, unless it is longer than `wanted`. What is lost is stated by the first who asks for it."""
        clock = asyncio.get_running_loop().time
        began: float = clock()
        chain: Chain | None = None
        while True:
            over = is_over(self._cluster, name)  # asked first: what was written before the end is then seen below
            prefix = await self._prefix(name, replica)
            if chain is None or chain.prefix != prefix:
                chain = self._chains.pop(prefix, None) or Chain(self._archive, prefix)
            await chain.refresh()
            pending = self._pending(chain, name, replica)
            if not pending and not chain.exists:
                raise LogNotFound(name)
            waited = clock() - began
            enough = wanted is not None and chain.end >= wanted
            patience = _LAST_BYTES if over else 0.0 if chain.end else _FIRST_BYTES
            if not pending or enough or waited > patience:
                break
            await asyncio.sleep(_POLL)
        if over and pending and not enough and (gone := lost(chain, self._cluster.pods.known)):
            with suppress(Occupied):  # then the next who asks will see more
                for source in gone:
                    await close_lost(chain, source, _LOST)
            pending = self._pending(chain, name, replica)
        return chain, over and not pending

    def _pending(self, chain: Chain, name: str, replica: int) -> set[str]:
        """The sources of which more may come."""
        with suppress(LogNotFound):
            begun = [pod for pod in pods_of_log(self._cluster, name, replica) if pod.has_begun]
            return ({str(Source(pod.name, pod.restarts)) for pod in begun} | chain.begun) - chain.over
        return chain.begun - chain.over

    async def _prefix(self, name: str, replica: int) -> str:
        """Raises `LogNotFound`. A job that the cluster has forgotten is known by what was kept of it."""
        try:
            pods = pods_of_log(self._cluster, name, replica)
        except LogNotFound:
            return await self._forgotten(name, replica)
        if name in self._cluster.servers.known:
            if not pods:
                raise LogNotFound(name)
            return prefix_of(self._client.namespace, pods[0])
        job = self._cluster.jobs.known.get(name)
        uid = job.uid if job is not None else pods[-1].uid
        return f"{self._client.namespace}/{name}/{uid}/job/"

    async def _forgotten(self, name: str, replica: int) -> str:
        """Of several lives the last that anything was written of."""
        root = f"{self._client.namespace}/{name}/"
        kept = [entry for entry in await self._archive.entries(root) if "/job/" in entry.key]
        if replica != 0 or not kept:
            raise LogNotFound(name)
        last = max(kept, key=lambda entry: entry.modified).key
        return f"{root}{last.removeprefix(root).partition('/')[0]}/job/"
