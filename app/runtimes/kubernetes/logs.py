"""Logs of tasks: from the archive that they are shipped to, or, without one, from the nodes while their pods live."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from app.archive.base import Archive
from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk, ProcessState
from app.runtimes.kubernetes import servers
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.manifests import CONTAINER
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.settings import KubernetesSettings
from app.runtimes.kubernetes.stories import Stories


class Logs(Protocol):
    """The logs of one namespace. `chunk` and `offset_of` are the port's `read_log` and `log_offset`."""

    def loops(self) -> list[Coroutine[Any, Any, None]]: ...

    def nudge(self) -> None: ...

    async def chunk(self, name: str, replica: int, offset: int, limit: int) -> LogChunk: ...

    async def offset_of(self, name: str, replica: int, tail_lines: int | None, since: datetime | None) -> int: ...

    async def remove(self, name: str) -> None:
        """Keep nothing of a task that was deleted."""

    async def close(self) -> None: ...


async def connect(
    settings: KubernetesSettings, client: Client, cluster: Cluster, archive: Archive | None, stories: Stories,
    ships: Callable[[], bool],
) -> Logs:  # fmt: skip
    if archive is None:
        return PodLogs(client, cluster)
    from app.runtimes.kubernetes.kept_logs import KeptLogs  # after what it needs of this module

    streams = await Client.connect(settings, connections=0)
    return KeptLogs(streams, cluster, archive, stories, settings.period, ships)


def pods_of_log(cluster: Cluster, name: str, replica: int) -> list[PodRecord]:
    """The pods whose logs make up this log. Raises `LogNotFound`."""
    pods = cluster.pods_of(name)
    if name in cluster.servers.known:
        return servers.replicas(pods)[replica : replica + 1]
    if replica != 0 or cluster.job(name) is None:
        raise LogNotFound(name)
    return pods


def is_over(cluster: Cluster, name: str) -> bool:
    """Nothing will be written any more, unless the job runs again. A server's log is never over."""
    seen = cluster.job(name)
    return name not in cluster.servers.known and (seen is None or seen.state is ProcessState.EXITED)


class PodLogs:
    """They are read whole and cut to size here: the API knows no byte offsets. What a node has rotated away, or what
    belonged to a pod that is gone, is lost."""

    def __init__(self, client: Client, cluster: Cluster) -> None:
        self._client, self._cluster = client, cluster

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        return []

    def nudge(self) -> None:
        """Nothing is kept here that could change."""

    async def chunk(self, name: str, replica: int, offset: int, limit: int) -> LogChunk:
        pods, over = pods_of_log(self._cluster, name, replica), is_over(self._cluster, name)
        text = await self._whole(name, pods)  # read after it was asked whether it is over: so the end is seen
        content = text[offset : offset + limit]
        end = offset + len(content)
        return LogChunk(offset, content, end, finished=over and end >= len(text))

    async def offset_of(self, name: str, replica: int, tail_lines: int | None, since: datetime | None) -> int:
        pods = pods_of_log(self._cluster, name, replica)
        text = await self._whole(name, pods)
        tail = _tail(text, tail_lines) if tail_lines is not None else 0
        if since is None:
            return tail
        second = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        recent = await self._whole(name, pods, second)  # read later, so it may be longer: that only reaches back
        return max(tail, len(text) - len(recent), 0)

    async def remove(self, name: str) -> None:
        """It goes with the pods."""

    async def close(self) -> None:
        """The client is another's."""

    async def _whole(self, name: str, pods: Sequence[PodRecord], since: str = "") -> bytes:
        begun = [pod for pod in pods if pod.has_begun]
        if not begun:
            raise LogNotFound(name)
        try:
            return b"".join([await self._client.log(pod.name, CONTAINER, since) for pod in begun])
        except Absent as error:
            raise LogNotFound(name) from error


def _tail(text: bytes, lines: int) -> int:
    """Where the last `lines` lines begin; a last line without its line feed counts as one."""
    if lines <= 0:
        return len(text)
    position = len(text) - text.endswith(b"\n")
    for _ in range(lines):
        position = text.rfind(b"\n", 0, position)
        if position < 0:
            return 0
    return position + 1
