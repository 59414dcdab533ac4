"""Fetched models, kept by digest: fetched once, checked at every start, shared by all servers on this machine.

Below one folder a model has up to four names: NAME, its files, whole; NAME.part, what is being fetched or removed;
NAME.used, a lock that each of its servers shares for life, and whose time is that of the last use; NAME.fetch, a lock
of the one that fetches. Locks end with their processes, so a server that is killed at any moment leaves all usable.

Every start reads and hashes every file, at 0.7 s of CPU a GiB; loading then finds them in memory. A note that they were
right before would not do: whoever may write the files may write the note.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.rest import Unwritable

log = logging.getLogger(__name__)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
NAME = re.compile(r"(sha256-[0-9a-f]{64})(\.\w+)?")

FULL_BYTES = 1 << 20  # free on a disk that counts as full, where an error does not say so

Announce = Callable[[int], None]
Fetch = Callable[[Path, Announce], None]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A model in the cache, whole or not: when it was last used, and the bytes that it takes."""

    name: str
    last_used: float
    size: int


class ModelCache:
    """A folder of at most `most_bytes` (0: as many as fit), but for models that servers use: those are never removed.

    `notice` is told in a sentence what a server waits for.
    """

    def __init__(self, root: Path, most_bytes: int = 0, notice: Callable[[str], None] = log.info) -> None:
        self._root = root
        self._most = most_bytes or sys.maxsize
        self._notice = notice
        self._used: list[int] = []

    def fetched(self, digest: str, fetch: Fetch) -> Path:
        """The folder whose files have this digest; if it is not here yet, `fetch` is given an empty folder to fill.

        `fetch` first announces how many bytes will come, where it knows; what was not used for longest then makes
        room. The model is in use until `close`, or the end of this process. Raises `ModelUnreadable` if the files are
        not those, `Unwritable` if the disk does not play along.
        """
        if not DIGEST.fullmatch(digest):
            raise ModelUnreadable(f"The model's digest {digest!r:.100} is not sha256 and 64 hexadecimal digits.")
        name = digest.replace(":", "-")
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._use(name)
            folder = self._checked(name, digest, fetch)
            self._make_room(0)  # others that made the cache too large may have ended since
            return folder
        except OSError as error:
            raise Unwritable(f"The model cache {self._root} cannot be used: {error.strerror or error}.") from error

    def close(self) -> None:
        """The models that were fetched through this object are no longer in use."""
        while self._used:
            os.close(self._used.pop())

    def _use(self, name: str) -> None:
        used = self._locked(f"{name}.used", fcntl.LOCK_SH)
        self._used.append(used)
        os.utime(used)

    def _checked(self, name: str, digest: str, fetch: Fetch) -> Path:
        """Several servers check at the same time, and one of them fetches."""
        folder = self._root / name
        while True:
            with self._alone_with(name):
                if not folder.is_dir():
                    return self._fetched_anew(name, digest, fetch)
                seen = _identity(folder)
            with suppress(FileNotFoundError):  # another server found it changed, too
                if directory_digest(folder) == digest:
                    return folder
            with self._alone_with(name):
                if folder.is_dir() and _identity(folder) == seen:
                    log.warning("The cached model %s was changed; it is fetched again.", name)
                    self._discard(name)

    def _fetched_anew(self, name: str, digest: str, fetch: Fetch) -> Path:
        part = self._root / f"{name}.part"
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, part, ignore_errors=True)  # of what failed, or nothing
            self._fill(part, fetch)
            found = directory_digest(part)
            if found != digest:
                raise ModelUnreadable(
                    f"The model's files are not those that were logged (expected {digest}, found {found})."
                )
            self._admit(_bytes_below(part))  # for what was not announced
            return part.rename(self._root / name)

    def _fill(self, part: Path, fetch: Fetch) -> None:
        """Fetch into `part`; whenever the disk is full, the next unused model goes, and it is tried again."""
        while True:
            if part.exists():  # of this fetch, or of a server that was killed: nobody else is here
                shutil.rmtree(part)
            part.mkdir()
            try:
                fetch(part, self._make_room)
                return
            except Unwritable as error:
                if not self._is_full(error) or not any(self._evict(entry) for entry in self._entries() if entry.size):
                    raise

    def _is_full(self, error: Unwritable) -> bool:
        told = isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT)
        return told or self._free() < FULL_BYTES

    def _make_room(self, needed: int) -> None:
        """Remove what nobody uses, longest unused first, until `needed` bytes more fit in. Raises `Unwritable`."""
        self._admit(needed)
        entries = self._entries()
        held = sum(entry.size for entry in entries)
        for entry in entries if self._free() + held >= needed else ():  # else nothing is gained
            if held + needed <= self._most and self._free() >= needed:
                return
            if self._evict(entry):
                held -= entry.size
        if self._free() < needed:
            raise Unwritable(
                f"The model has {needed:,} bytes, more than the disk of the model cache {self._root} can hold besides "
                f"what is in use there ({self._free():,} bytes are free): make room there."
            )
        if held + needed > self._most:
            log.warning("The model cache holds more than it may (%d bytes): servers use all of it.", self._most)

    def _admit(self, size: int) -> None:
        if size > self._most:
            raise Unwritable(
                f"The model has {size:,} bytes, and the model cache may hold {self._most:,} in all: let it hold more."
            )

    def _free(self) -> int:
        return shutil.disk_usage(self._root).free

    def _entries(self) -> list[_Entry]:
        """All models, the longest unused first."""
        names = {found[1] for path in self._root.iterdir() if (found := NAME.fullmatch(path.name))}
        entries = (_Entry(name, self._last_used(name), self._size(name)) for name in names)
        return sorted(entries, key=lambda entry: entry.last_used)

    def _last_used(self, name: str) -> float:
        with suppress(FileNotFoundError):
            return (self._root / f"{name}.used").stat().st_mtime
        return 0

    def _size(self, name: str) -> int:
        return sum(_bytes_below(self._root / each) for each in (name, f"{name}.part"))

    def _evict(self, entry: _Entry) -> bool:
        """Remove a model that no server uses; false for one that a server uses, which is then the last one used."""
        path = self._root / f"{entry.name}.used"
        used = _open(path)
        try:
            if not _try_lock(used, fcntl.LOCK_EX):
                os.utime(used)
                return False
            if not _stands_at(path, used):
                return False
            log.info("Removing the model %s (%d bytes) from the cache to make room.", entry.name, entry.size)
            self._discard(entry.name)
            for lock in (f"{entry.name}.fetch", f"{entry.name}.lock", path.name):
                (self._root / lock).unlink(missing_ok=True)  # who waits for one of them notices
            return True
        finally:
            os.close(used)

    def _discard(self, name: str) -> None:
        """Nothing that is half removed stands under the name of a whole model."""
        folder, part = self._root / name, self._root / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        if folder.is_dir():
            folder.rename(part)
            shutil.rmtree(part)

    @contextmanager
    def _alone_with(self, name: str) -> Iterator[None]:
        """One server at a time that fetches this model or judges what is here."""
        lock = self._locked(f"{name}.fetch", fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(lock)

    def _locked(self, name: str, kind: int) -> int:
        """A descriptor of the file of this name, locked until it is closed, or the process ends."""
        path = self._root / name
        while True:
            lock = _open(path)
            if not _try_lock(lock, kind):
                self._notice("Waiting for another server that fetches the same model into the same cache.")
                fcntl.flock(lock, kind)
            if _stands_at(path, lock):
                return lock
            os.close(lock)


def _open(path: Path) -> int:
    """A lock's file, for writing, as NFS asks for."""
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stands_at(path: Path, descriptor: int) -> bool:
    """False for a lock that was removed, with its model, between its opening and its locking."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _identity(folder: Path) -> tuple[int, int]:
    """Which folder this is: a new one may get an old one's number, but not at the same time."""
    found = folder.stat()
    return found.st_ino, found.st_ctime_ns


def _bytes_below(folder: Path) -> int:
    """Of all files below `folder`, also while they come and go."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(root) / name).lstat().st_size
    return total
