"""A kept log: an append-only chain of links in an archive, each named by the offset of its first byte.

A link can be written only once, and the next one begins where it ends. So of several writers who go on from the same
offset one succeeds, and what was read at an offset stays there for ever. Only whole chains of links count: what a late
writer left behind, or what was joined into a larger link, is passed over.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Coroutine

from app.archive.base import Archive, Missing
from app.archive.links import HEAD, Head, Place, head_of

_LARGEST = 8 << 20  # bytes of a joined link
_LIST_AGAIN = 3  # times, while somebody joins links
_BEGUN, _OVER = "begun-", "over-"  # what is behind these words is the name of a source; all sort behind the offsets


class Chain:
    """One log, for one user at a time. `refresh` before anything else, and whenever somebody else may have written.

    `end` is its length in bytes; `begun` and `over` are the sources that it was begun to be read from, and those that
    were read to their end.
    """

    def __init__(self, archive: Archive, prefix: str) -> None:
        self._archive, self.prefix = archive, prefix
        self._starts: list[int] = []
        self.end = 0
        self.begun: set[str] = set()
        self.over: set[str] = set()

    @property
    def exists(self) -> bool:
        return bool(self._starts or self.begun or self.over)

    async def refresh(self) -> None:
        """See what is there; of a chain that is known only its last link, which may have grown, and what is behind."""
        before = self._starts[:-1]
        found = await self._list(self._key(before[-1]) if before else "")
        known = self._starts[-1:]
        self._starts, self.end = before, known[0] if known else 0
        if not self._learn(found) or self._starts == before != []:
            await self.relist()

    async def relist(self) -> None:
        found = await self._list("")
        self._starts, self.end = [], 0
        self._learn(found)

    async def _list(self, after: str) -> list[tuple[str, int]]:
        found = await self._archive.entries(self.prefix, self.prefix + after if after else "")
        return [(entry.key.removeprefix(self.prefix), entry.size) for entry in found]

    def _learn(self, entries: list[tuple[str, int]]) -> bool:
        """False if links are there, but not the one that goes on: some were joined meanwhile."""
        beyond = False
        self.begun, self.over = set(), set()
        for key, size in entries:
            if key.startswith(_BEGUN):
                self.begun.add(key.removeprefix(_BEGUN))
            elif key.startswith(_OVER):
                self.over.add(key.removeprefix(_OVER))
            elif (start := int(key)) == self.end:
                self._starts.append(start)
                self.end += size - HEAD
            else:
                beyond = beyond or start > self.end
        return not beyond

    async def place(self) -> Place | None:
        """Where the last link ends in its source; None for an empty log."""
        return (await self._head(self._starts[-1])).place if self._starts else None

    async def append(self, content: bytes, place: Place, written: int, until: int) -> None:
        """Add a link of at least one byte; its first and last line were written then (milliseconds since the epoch).

        Raises `Occupied` if somebody else went on from here: refresh, and see how far they came.
        """
        head = Head(place, ((written, self.end),), until).content()
        await _whole(self._archive.put_new(self.prefix + self._key(self.end), head + content))
        self._starts.append(self.end)
        self.end += len(content)

    async def begin(self, source: str) -> None:
        await _whole(self._archive.put(f"{self.prefix}{_BEGUN}{source}", b""))
        self.begun.add(source)

    async def finish(self, source: str) -> None:
        """Say that nothing of this source will follow."""
        await _whole(self._archive.put(f"{self.prefix}{_OVER}{source}", b""))
        self.over.add(source)

    async def read(self, offset: int, limit: int) -> bytes:
        """At most `limit` bytes from `offset`; beyond the end there are none."""
        for _ in range(_LIST_AGAIN):
            try:
                return await self._read(offset, min(limit, self.end - offset))
            except Missing:
                await self.relist()
        return b""

    async def _read(self, offset: int, limit: int) -> bytes:
        starts, pieces = [*self._starts, self.end], []
        index = bisect_right(starts, offset) - 1
        while limit > 0:
            length = min(limit, starts[index + 1] - offset)
            key = self.prefix + self._key(starts[index])
            pieces.append(await self._archive.get(key, HEAD + offset - starts[index], length))
            offset, limit, index = offset + length, limit - length, index + 1
        return b"".join(pieces)

    async def _head(self, start: int) -> Head:
        return head_of(await self._archive.get(self.prefix + self._key(start), 0, HEAD))

    async def head(self, index: int) -> Head | None:
        """Of one link; None if it was joined with others just now."""
        try:
            return await self._head(self._starts[index])
        except Missing:
            return None

    @property
    def links(self) -> int:
        return len(self._starts)

    async def join(self, keep: int = 0) -> None:
        """Make large links of small ones, but for the last `keep`. A reader who comes meanwhile sees the same bytes."""
        for first, last in self._groups(keep):
            starts = self._starts[first:last]
            found = await asyncio.gather(*(self._archive.get(self.prefix + self._key(start)) for start in starts))
            heads = [head_of(content) for content in found]
            head = Head(heads[-1].place, tuple(mark for one in heads for mark in one.marks), heads[-1].until)
            content = b"".join([head.content(), *(one[HEAD:] for one in found)])
            await self._archive.put(self.prefix + self._key(starts[0]), content)
            await self._archive.delete([self.prefix + self._key(start) for start in starts[1:]])
        await self.relist()

    def _groups(self, keep: int) -> list[tuple[int, int]]:
        starts, groups, first = [*self._starts, self.end], [], 0
        limit = len(self._starts) - keep
        while first < limit:
            last = first + 1
            while last < limit and starts[last + 1] - starts[first] <= _LARGEST:
                last += 1
            if last - first > 1:
                groups.append((first, last))
            first = last
        return groups

    @staticmethod
    def _key(offset: int) -> str:
        return f"{offset:016d}"


async def _whole(write: Coroutine[None, None, None]) -> None:
    """A write that was begun is waited for, also by one who is cancelled: what comes next finds it done."""
    task = asyncio.ensure_future(write)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
