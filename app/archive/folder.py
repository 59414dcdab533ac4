"""An archive in a folder: one file an entry. Several gateways may share it if they share the folder."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from app.archive.base import Entry, Missing, Occupied
from app.core.errors import ArchiveUnavailable

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_UNFINISHED = ".unfinished-"  # no part of a key begins so
T = TypeVar("T")


class FolderArchive:
    """An `Archive`. A write is durable when it returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes) -> None:
        await self._run(lambda: self._write(key, content, os.replace))

    async def put_new(self, key: str, content: bytes) -> None:
        await self._run(lambda: self._write(key, content, _link))

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        def read() -> bytes:
            try:
                with self._path(key).open("rb") as file:
                    file.seek(start)
                    return file.read(-1 if length is None else length)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise Missing(key) from error

        return await self._run(read)

    async def entries(self, prefix: str, after: str = "") -> list[Entry]:
        return await self._run(lambda: sorted(self._found(prefix, after), key=lambda entry: entry.key))

    async def delete(self, keys: list[str]) -> None:
        def remove() -> None:
            for key in keys:
                self._remove(self._path(key))

        await self._run(remove)

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a key of an archive: {key!r}")
        return self._folder / key

    def _write(self, key: str, content: bytes, place: Callable[[str, Path], None]) -> None:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, fresh = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            place(fresh, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(fresh)  # noqa: PTH108 - a name, not a path of ours

    def _found(self, prefix: str, after: str) -> Iterator[Entry]:
        root = self._folder / prefix.rpartition("/")[0]
        for path in root.rglob("*"):
            key = path.relative_to(self._folder).as_posix()
            if not key.startswith(prefix) or key <= after or path.name.startswith(_UNFINISHED):
                continue
            with suppress(FileNotFoundError):  # it went while we looked
                if path.is_file():
                    seen = path.stat()
                    yield Entry(key, seen.st_size, datetime.fromtimestamp(seen.st_mtime, UTC))

    def _remove(self, path: Path) -> None:
        """With the folders that it leaves empty."""
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or gone
            for folder in path.relative_to(self._folder).parents[:-1]:
                (self._folder / folder).rmdir()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise ArchiveUnavailable(f"The archive's folder {self._folder} does not serve: {error}") from error


def _link(fresh: str, path: Path) -> None:
    """Unlike a rename, a link never replaces."""
    try:
        os.link(fresh, path)
    except FileExistsError as error:
        raise Occupied(str(path)) from error
