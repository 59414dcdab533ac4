"""Logs of jobs and servers: as they stand, or followed while they grow, by byte offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk, Runtime

_CHUNK = 256 * 1024
_POLL_SECONDS = 0.2
_NO_LOG = LogChunk(0, b"", 0, finished=False)


@dataclass(frozen=True, slots=True)
class LogLines:
    """Whole lines of a log without the last line break; `end` is the byte offset behind it."""

    text: str
    end: int


class LogService:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def start(self, name: str, replica: int, tail: int | None, since: datetime | None) -> int:
        """The offset where reading shall begin. A log that has not begun begins at 0."""
        if tail is None and since is None:
            return 0
        try:
            return await self._runtime.log_offset(name, replica=replica, tail_lines=tail, since=since)
        except LogNotFound:
            return 0

    async def read(self, name: str, replica: int, offset: int) -> AsyncIterator[bytes]:
        """The log from `offset` to where it ends when it is reached."""
        while (chunk := await self._chunk(name, replica, offset)).content:
            yield chunk.content
            offset = chunk.end

    async def follow(
        self, name: str, replica: int, offset: int, is_over: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[LogLines | None]:
        """Lines as they come, from `offset` until the log can grow no more. None when there is nothing new.

        `is_over` is asked while there is no log at all: what was stopped before it began never writes one.
        An unfinished line is held back until it is finished, too long to hold, or the last.
        """
        while True:
            chunk = await self._chunk(name, replica, offset)
            whole = chunk.content.rfind(b"\n") + 1
            if chunk.finished or (not whole and len(chunk.content) >= _CHUNK):
                whole = len(chunk.content)
            if whole:
                offset = chunk.offset + whole
                yield LogLines(chunk.content[:whole].decode(errors="replace").removesuffix("\n"), offset)
            elif chunk.finished or (chunk is _NO_LOG and await is_over()):
                return
            else:
                yield None
                await asyncio.sleep(_POLL_SECONDS)

    async def _chunk(self, name: str, replica: int, offset: int) -> LogChunk:
        try:
            return await self._runtime.read_log(name, replica=replica, offset=offset, limit=_CHUNK)
        except LogNotFound:
            return _NO_LOG
