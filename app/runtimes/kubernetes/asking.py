"""Asking: what servers say of themselves while they are not ready.

The cluster's probes keep the status and drop the words, and they come once a second: a server that starts is asked more
often, so that it has its first prediction as soon as it can answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from app.core.errors import RuntimeUnavailable
from app.core.nudge import Nudge
from app.core.scaling import SERVERS_OWN, StartPhase, told_seconds
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.reach import Reach
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.termination import clean

READY = "Ready"
_EAGER_PERIOD = 0.1
_AT_ONCE = 10  # that are asked so often; where more start at once, each is asked less often
_EAGER_SECONDS = 60.0  # from then on it is asked each period
_PULLED = re.compile(r'[Ss]uccessfully pulled image "[^"]*" in ([\d.hms]+)')
_PRESENT = "already present"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Words(NamedTuple):
    """What a pod's container that began at `begun` said last; `seconds` are those of its start's phases, once it is
    ready."""

    reason: str = "NotReady"
    message: str = "It does not say yet that it is ready."
    begun: datetime | None = None
    seconds: Mapping[StartPhase, float] = {}

    @property
    def phase(self) -> StartPhase:
        return SERVERS_OWN.get(self.reason, StartPhase.START)


def words_of(pod: PodRecord, said: Mapping[str, Words]) -> Words:
    """What its present container said; one before it says nothing of it."""
    words = said.get(pod.name, Words())
    return words if words.begun == pod.running_since else Words()


class Asker:
    """Keeps `said` true, by pod; `changed` is called when one says something else."""

    def __init__(
        self, client: Client, pods: Callable[[], Mapping[str, PodRecord]], said: dict[str, Words], reach: Reach,
        period: float, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._client, self._pods, self._said, self._reach = client, pods, said, reach
        self._period, self._changed = period, changed
        self._asking: dict[str, asyncio.Task[None]] = {}
        self.nudge = Nudge()

    async def run(self) -> None:
        """Until cancelled."""
        asking = self._asking
        try:
            while True:
                for name in self._said.keys() - self._pods().keys():
                    del self._said[name]
                unready = {pod.name: pod for pod in self._pods().values() if _is_unready(pod)}
                for name in asking.keys() - unready.keys():
                    asking.pop(name).cancel()
                for name, pod in unready.items():
                    if name not in asking or asking[name].done():
                        asking[name] = asyncio.create_task(self._follow(pod))
                await self.nudge.wait(self._period)
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _follow(self, pod: PodRecord) -> None:
        """Ask until it is ready."""
        began = time.monotonic()
        while not await self._ask(pod):
            eager = _EAGER_PERIOD * max(1.0, len(self._asking) / _AT_ONCE)
            await asyncio.sleep(eager if time.monotonic() - began < _EAGER_SECONDS else max(eager, self._period))

    async def _ask(self, pod: PodRecord) -> bool:
        before, words = words_of(pod, self._said), _words(await self._reach.ask(pod), pod)
        is_ready = words.reason == READY
        if is_ready and not self._reach.direct:  # no prediction gets there before the cluster says so too
            words = Words("NotReady", "The cluster does not say yet that it is ready.", pod.running_since)
        elif is_ready and before.reason == READY:
            words = before
        elif is_ready:
            words = words._replace(seconds={**words.seconds, **await self._pulled(pod)})
        self._said[pod.name] = words
        if words != before:
            self._changed()
        return is_ready

    async def _pulled(self, pod: PodRecord) -> Mapping[StartPhase, float]:
        """How long its node took for its image, which is told by an event alone."""
        query = {"fieldSelector": f"involvedObject.name={pod.name},reason=Pulled"}
        with contextlib.suppress(Absent, RuntimeUnavailable):
            found = await self._client.get(self._client.path("", "events"), query)
            for event in found["items"]:
                if (seconds := pull_seconds(event.get("message", ""))) is not None:
                    return {StartPhase.PULL: seconds}
        return {}


def _words(said: Mapping[str, object] | None, pod: PodRecord) -> Words:
    if said is None or "reason" not in said or "message" not in said:
        return Words(begun=pod.running_since)
    reason, message = clean(str(said["reason"]))[:64], clean(str(said["message"]))
    return Words(reason, message, pod.running_since, told_seconds(said.get("seconds")))


def pull_seconds(message: str) -> float | None:
    """What a kubelet's event says of a pull: none where the image was there, a duration such as 1m2.5s or 350.2ms."""
    if _PRESENT in message:
        return 0.0
    if (found := _PULLED.search(message)) is None:
        return None
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", found[1])
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _is_unready(pod: PodRecord) -> bool:
    return bool(pod.health_path and pod.running_since and pod.ip and not pod.ready and not pod.deleting)
