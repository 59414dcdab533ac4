"""The links that a kept log is made of: bytes, behind a head of fixed length that says where in its source they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson

HEAD = 1024  # bytes, so that a list of sizes tells the offsets
_MARKS = 24  # that fit into a head
Mark = tuple[int, int]  # milliseconds since the epoch, and the offset in the log of what was written then


@dataclass(frozen=True, slots=True)
class Place:
    """How far a source has been read: behind the `nth` line that was written at `at`, or `part` bytes into it.

    `at` is the time that the source gave its line, in the source's own words.
    """

    source: str
    at: str = ""
    nth: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """`until` is when its last line was written, in milliseconds since the epoch."""

    place: Place
    marks: tuple[Mark, ...]
    until: int

    def content(self) -> bytes:
        record = {"place": asdict(self.place), "marks": thinned(self.marks), "until": self.until}
        return orjson.dumps(record).ljust(HEAD - 1) + b"\n"


def head_of(content: bytes) -> Head:
    record = orjson.loads(content[:HEAD])
    marks = tuple((at, offset) for at, offset in record["marks"])
    return Head(Place(**record["place"]), marks, record["until"])


def thinned(marks: Sequence[Mark]) -> list[Mark]:
    """The first and every so many, until they fit."""
    step = max(1, -(-len(marks) // _MARKS))
    return list(marks[::step])
