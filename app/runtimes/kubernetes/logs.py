"""Logs of a task, from the nodes that its pods ran on: whole, for as long as the pods are there.

They are read whole and cut to size here: the API knows no byte offsets. What a node has rotated away, or what belonged
to a pod that is gone, is lost; shipping logs to an object store is what will mend that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.manifests import CONTAINER
from app.runtimes.kubernetes.records import PodRecord


async def whole(client: Client, name: str, pods: Sequence[PodRecord], since: str = "") -> bytes:
    """The logs of these pods, one after the other. Raises `LogNotFound` if none has begun."""
    begun = [pod for pod in pods if pod.has_begun]
    if not begun:
        raise LogNotFound(name)
    try:
        return b"".join([await client.log(pod.name, CONTAINER, since) for pod in begun])
    except Absent as error:
        raise LogNotFound(name) from error


async def chunk(client: Client, name: str, pods: Sequence[PodRecord], offset: int, limit: int, over: bool) -> LogChunk:
    """`over`: asked before, so that what was written before the end is seen."""
    text = await whole(client, name, pods)
    content = text[offset : offset + max(0, limit)]
    end = offset + len(content)
    return LogChunk(offset, content, end, finished=over and end >= len(text))


async def offset_of(
    client: Client, name: str, pods: Sequence[PodRecord], tail_lines: int | None, since: datetime | None
) -> int:
    text = await whole(client, name, pods)
    tail = _tail(text, tail_lines) if tail_lines is not None else 0
    if since is None:
        return tail
    second = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    recent = await whole(client, name, pods, second)  # read later, so it may be longer: that only reaches back
    return max(tail, len(text) - len(recent), 0)


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
