"""Reading logs by byte offsets: a chunk, the last lines, and what was written since a moment."""

from __future__ import annotations

import bisect
import os
from collections.abc import Callable
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk
from app.runtimes.local.attempt import Slot

BLOCK = 1 << 16
RECORD = 16  # bytes of the index a sample: milliseconds since the epoch, size of the log


def read_chunk(name: str, log: Path, offset: int, limit: int, ended: Callable[[], bool]) -> LogChunk:
    """At most `limit` bytes from `offset`; beyond the end there are none."""
    over = ended()  # asked first: what is written before the end is then seen below
    with _open(name, log) as file:
        content = os.pread(file.fileno(), max(0, limit), offset)
        end = offset + len(content)
        return LogChunk(offset, content, end, finished=over and end >= os.fstat(file.fileno()).st_size)


def offset_of(name: str, slot: Slot, tail_lines: int | None, since: datetime | None) -> int:
    with _open(name, slot.log) as file:
        size = os.fstat(file.fileno()).st_size
        tail = _tail(file.fileno(), size, tail_lines) if tail_lines is not None else 0
        recent = _line_start(file.fileno(), min(size, _since(slot.log_index, since))) if since is not None else 0
        return max(tail, recent)


def _open(name: str, log: Path) -> BufferedReader:
    try:
        return log.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LogNotFound(name) from error


def _tail(file: int, size: int, lines: int) -> int:
    """Where the last `lines` lines begin; a last line without its line feed counts as one."""
    if lines <= 0:
        return size
    wanted = lines + (size > 0 and os.pread(file, 1, size - 1) == b"\n")
    end = size
    while end > 0:
        start = max(0, end - BLOCK)
        block = os.pread(file, end - start, start)
        found = block.count(b"\n")
        if found >= wanted:
            return start + _nth_from_right(block, wanted) + 1
        wanted -= found
        end = start
    return 0


def _nth_from_right(block: bytes, count: int) -> int:
    position = len(block)
    for _ in range(count):
        position = block.rindex(b"\n", 0, position)
    return position


def _line_start(file: int, offset: int) -> int:
    """The start of the line in which `offset` lies, if that is within one block."""
    start = max(0, offset - BLOCK)
    found = os.pread(file, offset - start, start).rfind(b"\n")
    return start + found + 1 if found >= 0 or start == 0 else offset


class _Times:
    """The times of the index, as a sequence that is read where it is looked at."""

    def __init__(self, file: int) -> None:
        self._file = file

    def __len__(self) -> int:
        return os.fstat(self._file).st_size // RECORD

    def __getitem__(self, position: int) -> int:
        return int.from_bytes(os.pread(self._file, 8, position * RECORD), "big")

    def size_at(self, position: int) -> int:
        return int.from_bytes(os.pread(self._file, 8, position * RECORD + 8), "big")


def _since(index: Path, since: datetime) -> int:
    """How long the log was at the last sample up to `since`: all that is behind may have been written later."""
    try:
        with index.open("rb") as file:
            times = _Times(file.fileno())
            position = bisect.bisect_right(times, int(since.timestamp() * 1000))
            return times.size_at(position - 1) if position else 0
    except FileNotFoundError:
        return 0
