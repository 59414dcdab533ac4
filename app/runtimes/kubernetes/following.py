"""Following one container's log into its chain: every byte once, however often the stream breaks; gaps are stated."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from app.archive.chain import Chain
from app.archive.links import Place
from app.core.errors import RuntimeUnavailable
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.loglines import Babble, Behind, Lines, Piece, milliseconds, second_before
from app.runtimes.kubernetes.manifests import CONTAINER
from app.runtimes.kubernetes.records import PodRecord

_LOOK = 1.0  # seconds between two looks at a silent stream
_LINGER = 10.0  # seconds that a stream may stay open when its container has ended
_LATE = 10_000  # milliseconds after a container's start from which its log may have been rotated away
_PATIENCE = 60.0  # seconds that a node which has gone away is asked for the rest
_FIRST_BACKOFF, _LAST_BACKOFF = 0.2, 15.0
_BRIEF = 5.0  # seconds; what closes sooner is not asked at once again
_SMALL_LINKS = 64  # that a growing log may have
_RECENT = 8  # links that are left as they are, as another writer may be about to go on from one
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """One container's life: a pod, and how often its container had been started again."""

    pod: str
    restart: int

    def __str__(self) -> str:
        return f"{self.pod}.{self.restart}"


@dataclass(frozen=True, slots=True)
class Pace:
    """When what was read is written: after so many bytes or seconds."""

    size: int
    seconds: float


def missing(why: str) -> bytes:
    return f"[modelyard: an unknown part of the log is missing here: {why}]\n".encode()


class Follower:
    """Ships one source. `look` gives the pod as it is now, `pace` how much may be held back, and
    `tell` is called when all is read, before that is written down.

    Raises `Occupied` when another gateway went on with the chain, and outages of the archive; then begin again.
    """

    def __init__(
        self, client: Client, chain: Chain, source: Source, look: Callable[[], PodRecord | None],
        pace: Callable[[], Pace], tell: Callable[[], Awaitable[None]], gap: str = "",
    ) -> None:  # fmt: skip
        self._tell = tell
        self._client, self._chain, self._source, self._look, self._pace = client, chain, source, look, pace
        self._at, self._nth, self._part = "", 0, 0
        self._held = bytearray(missing(gap) if gap else b"")
        self._held_since, self._written = time.monotonic(), 0
        self._is_first = False

    async def run(self) -> None:
        """Until the source is read to its end, or to where nobody can read it any more."""
        last = await self._chain.place()
        if last is not None and last.source == str(self._source):
            self._at, self._nth, self._part = last.at, last.nth, last.part
        else:
            self._is_first = True
        if str(self._source) not in self._chain.begun:
            await self._chain.begin(str(self._source))
        why = await self._read_on()
        if why:
            self._state(why)
        await self._flush()
        await self._tell()
        await self._chain.finish(str(self._source))

    @property
    def _place(self) -> Place:
        return Place(str(self._source), self._at, self._nth, self._part)

    async def _read_on(self) -> str:
        """Returns why what follows cannot be read, if anything does.

        A log is read to its end by a stream that was opened after its container had ended, and that ended by itself.
        """
        clean, failing, backoff = False, 0.0, _FIRST_BACKOFF
        while True:
            pod, began, before = self._look(), time.monotonic(), self._place
            over = pod is None or _has_ended(pod, self._source, clean)
            if pod is None:
                return "" if clean else "its pod was gone before it was read to its end."
            try:
                clean, failing = await self._stream(pod, follow=not over), 0.0
                if over and clean:
                    return ""
            except Absent as error:
                if over:
                    return "" if clean else f"the cluster has it no more ({error})."
            except (RuntimeUnavailable, Babble) as error:
                clean, failing = False, failing or began
                if over and began - failing > _PATIENCE:
                    return f"its node did not give it for {_PATIENCE:g} s ({error})."
                log.info("log_interrupted", source=str(self._source), cause=str(error))
                await self._flush()
            lasted = time.monotonic() - began > _BRIEF or self._place != before
            backoff = _FIRST_BACKOFF if lasted else min(_LAST_BACKOFF, backoff * 2)
            await asyncio.sleep(backoff * random.uniform(0.5, 1))

    async def _stream(self, pod: PodRecord, *, follow: bool) -> bool:
        """Read from our place on. True if it ended by itself, and not because we had enough."""
        behind = await self._behind(pod)
        async with self._open(pod, follow=follow, since=behind.since) as read:
            lines, until, ended_at = Lines(), time.monotonic() + random.uniform(240, 300), math.inf
            while (content := await self._next(read)) != b"":
                for piece in lines.feed(content or b""):
                    self._pass(behind, piece)
                if self._is_due():
                    await self._flush()
                now, seen = time.monotonic(), self._look()
                if seen is None or _has_ended(seen, self._source, clean=False):
                    ended_at = min(ended_at, now)
                if follow and (now > until or now - ended_at > _LINGER):
                    break
            else:
                for piece in lines.feed(b"", final=True):
                    self._pass(behind, piece)
        await self._flush()
        return content == b""

    async def _next(self, read: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """None if nothing comes for a while."""
        try:
            async with asyncio.timeout(min(_LOOK, self._pace().seconds)):
                return await read()
        except TimeoutError:
            return None

    def _open(
        self, pod: PodRecord, *, follow: bool, since: str
    ) -> AbstractAsyncContextManager[Callable[[], Awaitable[bytes]]]:
        previous = pod.restarts > self._source.restart
        return self._client.log_stream(
            pod.name, CONTAINER, follow=follow and not previous, previous=previous, since=since
        )

    async def _behind(self, pod: PodRecord) -> _Behind:
        """What lets through that is behind our place. If the node has that line no more, all that it has is behind."""
        behind = _Behind(self._place)
        if behind.found:
            return behind
        lines = Lines()
        async with self._open(pod, follow=False, since=behind.since) as read:
            while (content := await read()) and not behind.found:
                for piece in lines.feed(content):
                    behind(piece)
        for piece in () if behind.found else lines.feed(b"", final=True):
            behind(piece)
        if behind.found:
            return _Behind(self._place, limit=behind.dropped)
        self._state("the node had rotated it away before it was read.")
        return _Behind(self._place)

    def _pass(self, behind: _Behind, piece: Piece) -> None:
        if (new := behind(piece)) is not None:
            self._take(new)

    def _take(self, piece: Piece) -> None:
        if self._is_first:
            self._is_first = False
            self._state_if_late(piece)
        if not self._part:
            at = piece.at.decode()
            self._nth = self._nth + 1 if at == self._at else 1
            self._at = at
        self._part = 0 if piece.whole else self._part + len(piece.content)
        self._hold(piece.content)
        self._written = self._written or milliseconds(piece.at)

    def _hold(self, content: bytes) -> None:
        self._held_since = self._held_since if self._held else time.monotonic()
        self._held += content

    def _state_if_late(self, piece: Piece) -> None:
        """A log that is first read long after it was begun may have lost its beginning; nobody can tell."""
        pod, now = self._look(), time.time() * 1000
        if pod is None or pod.started is None or pod.restarts != self._source.restart:
            return
        began = pod.started.timestamp() * 1000
        if now - began > _LATE and milliseconds(piece.at) - began > _LATE:
            seconds = (milliseconds(piece.at) - began) / 1000
            self._hold(missing(
                f"it was first read when its program had run for {(now - began) / 1000:.0f} s, and what the node had "
                f"kept begins {seconds:.0f} s after the program; what came before, if anything, was rotated away."
            ))  # fmt: skip

    def _state(self, why: str) -> None:
        """From here on all that the source has is new."""
        self._hold((b"\n" if self._part else b"") + missing(why))
        self._at, self._nth, self._part = "", 0, 0

    def _is_due(self) -> bool:
        pace = self._pace()
        old = bool(self._held) and time.monotonic() - self._held_since >= pace.seconds
        return old or len(self._held) >= pace.size

    async def _flush(self) -> None:
        if not self._held:
            return
        now = int(time.time() * 1000)
        until = milliseconds(self._at.encode()) if self._at else now
        await self._chain.append(bytes(self._held), self._place, self._written or now, until)
        self._held.clear()
        self._written = 0
        if self._chain.links % _SMALL_LINKS == 0:
            await self._chain.join(keep=_RECENT)


class _Behind(Behind):
    """With the second to ask from; more pieces before the place than `limit` mean that the node has rotated."""

    def __init__(self, place: Place, limit: int | None = None) -> None:
        super().__init__(place)
        self.since = second_before(place.at)
        self._limit = limit

    def __call__(self, piece: Piece) -> Piece | None:
        passed = super().__call__(piece)
        if self._limit is not None and self.dropped > self._limit and not self.found:
            raise RuntimeUnavailable("The node rotated the log while it was read.")
        return passed


def _has_ended(pod: PodRecord, source: Source, clean: bool) -> bool:
    """`clean`: its stream ended by itself. Some nodes never tell how the container of a failed pod ended."""
    if pod.restarts > source.restart or (pod.has_begun and pod.running_since is None):
        return True
    return pod.is_final and clean


async def close_lost(chain: Chain, source: str, why: str) -> None:
    """State that the rest of a source is lost, and that nothing of it will follow. Raises `Occupied`."""
    now = int(time.time() * 1000)
    await chain.append(missing(why), Place(source), now, now)
    await chain.finish(source)
