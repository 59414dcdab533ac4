"""What else the cluster has than Kubernetes itself: engines that it may have, and that are never required."""

from __future__ import annotations

import asyncio
import random

from app.core.errors import QueueUnavailable, RuntimeUnavailable
from app.core.specs import JobSpec
from app.runtimes.kubernetes.client import Client

KUEUE = "kueue.x-k8s.io"
_AGAIN, _AFTER_AN_OUTAGE = (240, 300), (2, 15)  # seconds


class Engines:
    """What `/apis` shows, looked at now and then: as often as watches are renewed."""

    def __init__(self, client: Client, queue: str) -> None:
        self._client, self._queue = client, queue
        self._groups: frozenset[str] | None = None

    async def run(self) -> None:
        """Look, and look again, until cancelled."""
        while True:
            try:
                await self.look()
                pause = _AGAIN
            except RuntimeUnavailable:
                pause = _AFTER_AN_OUTAGE
            await asyncio.sleep(random.uniform(*pause))

    async def look(self) -> None:
        found = await self._client.get("/apis")
        self._groups = frozenset(group["name"] for group in found["groups"])

    def queue_of(self, spec: JobSpec) -> str:
        """Where this job waits to be admitted; empty for a job that asked for no queue where there are none.

        Raises `QueueUnavailable`, and `RuntimeUnavailable` while it is not known what the cluster has.
        """
        queue = spec.queue or self._queue
        if not queue:
            return ""
        if self._groups is None:
            raise RuntimeUnavailable("What the cluster serves has not been seen yet.")
        if KUEUE in self._groups:
            return queue
        if not spec.queue:
            return ""
        raise QueueUnavailable(
            spec.queue, "Queues need Kueue, which this cluster does not have, or has not had for five minutes."
        )
