"""The lines of a log as the API gives them, each behind its time; and finding the line to go on from: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.archive.links import Place

_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) ")
_LONGEST_TIME = 64  # bytes, with room
_BACK = timedelta(seconds=10)
_SPLIT = 1 << 14  # bytes after which a node begins another entry; a kubelet before 1.26 gives each its time


class Babble(Exception):  # noqa: N818 - the name says what it is
    """What the node says in the place of a log."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A line with its line feed, or so far as it is there: then it is not `whole`, and the rest follows."""

    at: bytes
    content: bytes
    whole: bool


class Lines:
    """Bytes in, pieces of lines out; holds no more than one piece. Raises `Babble` for what has no time."""

    def __init__(self) -> None:
        self._rest = b""
        self._at = b""  # of the line that we are in

    def feed(self, content: bytes, *, final: bool = False) -> Iterator[Piece]:
        """With `final` all is given out, and the last piece may lack its line feed."""
        rest, position = self._rest + content, 0
        while True:
            if not self._at:
                found = _TIME.match(rest, position)
                if found is None:
                    break
                self._at, position = found[1], found.end()
            feed = rest.find(b"\n", position, position + _SPLIT + 1)
            if feed >= 0:
                yield Piece(self._at, rest[position : feed + 1], True)
                self._at, position = b"", feed + 1
            elif self._is_split(rest, position + _SPLIT, final):
                yield Piece(self._at, rest[position : position + _SPLIT], False)
                position += _SPLIT
                again = _TIME.match(rest, position)
                position = again.end() if again else position
            else:
                break
        if final and self._at and position < len(rest):
            yield Piece(self._at, rest[position:], False)
            position = len(rest)
        self._rest = rest[position:]
        if not self._at and (b"\n" in self._rest or len(self._rest) >= (1 if final else _LONGEST_TIME)):
            raise Babble(self._rest[:200].decode(errors="replace").strip())

    @staticmethod
    def _is_split(rest: bytes, end: int, final: bool) -> bool:
        """Whether enough is here to see if a time follows at `end`."""
        return len(rest) > end and (final or len(rest) >= end + _LONGEST_TIME or rest.find(b"\n", end) >= 0)


class Behind:
    """Lets through what is behind a place; `found` once the place was seen, `dropped` counts the pieces before it."""

    def __init__(self, place: Place) -> None:
        self._place, self._at = place, place.at.encode()
        self._nth, self._inside, self._into = 0, False, 0
        self.found = not place.at
        self.dropped = 0

    def __call__(self, piece: Piece) -> Piece | None:
        if self.found:
            return piece
        if not self._inside:
            self._nth += piece.at == self._at
            self._into = 0
        self._inside = not piece.whole
        if piece.at != self._at or self._nth < self._place.nth:
            self.dropped += 1
            return None
        return self._of_the_line(piece)

    def _of_the_line(self, piece: Piece) -> Piece | None:
        """Of the line that the place is in, or behind."""
        before, self._into = self._into, self._into + len(piece.content)
        part = self._place.part
        self.found = piece.whole if not part else self._into >= part
        if part and self.found and (rest := piece.content[part - before :]):
            return Piece(piece.at, rest, piece.whole)
        self.dropped += 1
        return None


def milliseconds(at: bytes) -> int:
    """Since the epoch."""
    return int(_moment(at.decode()).timestamp() * 1000)


def second_before(at: str) -> str:
    """From when to ask, as the API takes it, in whole seconds: early enough for a clock that was set back a little."""
    return (_moment(at).astimezone(UTC) - _BACK).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
