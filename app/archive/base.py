"""The port of every archive: named bytes in a folder or a bucket, written whole and read in parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Occupied(Exception):  # noqa: N818 - the name says what it is
    """Something of this name is there already."""


class Missing(Exception):  # noqa: N818
    """Nothing of this name is there."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`size` is in bytes."""

    key: str
    size: int
    modified: datetime


class Archive(Protocol):
    """Keys are parts of letters, digits, `.`, `-` and `_`, with `/` between them.

    A write is seen whole or not at all, by every reader, as soon as it returns; so is a list. Every method may raise
    `ArchiveUnavailable` (an outage), and may then have been done or not.
    """

    async def put(self, key: str, content: bytes) -> None:
        """Write, over what may be there."""

    async def put_new(self, key: str, content: bytes) -> None:
        """Write what must not be there yet: of all who try, one succeeds. Raises `Occupied`."""

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """At most `length` bytes from `start`, which lies within it. Raises `Missing`."""

    async def entries(self, prefix: str, after: str = "") -> list[Entry]:
        """All whose key begins with `prefix` and comes behind `after`, in the order of their keys."""

    async def delete(self, keys: list[str]) -> None:
        """Harmless when repeated."""

    async def close(self) -> None:
        """Let go of connections and threads."""
