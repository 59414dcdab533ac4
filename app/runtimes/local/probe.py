"""Probing: asking one replica over HTTP, again and again, whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from app.core.scaling import SERVERS_OWN, StartPhase, told_seconds
from app.runtimes.local.attempt import Attempt
from app.runtimes.local.settings import LocalSettings

EAGER_PERIOD = 0.05  # while it starts: what a newcomer waits for
LAZY_PERIOD = 0.5  # when it has been starting for long
LONGEST_BODY = 4096


class Answer(NamedTuple):
    status: int
    body: bytes


async def ask(address: tuple[str, int], path: str, timeout: float) -> Answer:
    """One GET. Raises OSError (TimeoutError is one) or asyncio.IncompleteReadError if there is no answer."""
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(*address, limit=1 << 14)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nConnection: close\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            return Answer(_status(head), await _body(reader, head))
        except (asyncio.LimitOverrunError, ValueError) as error:
            raise ConnectionError("The answer is not HTTP.") from error
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _status(head: bytes) -> int:
    return int(head.split(None, 2)[1]) if head.startswith(b"HTTP/1.") else int("none")


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    length = LONGEST_BODY
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = min(length, int(line.partition(b":")[2]))
    with contextlib.suppress(asyncio.IncompleteReadError):
        return await reader.readexactly(length)
    return b""


@dataclass(frozen=True, slots=True)
class Health:
    """What the last probes say. `unanswered` counts those in a row that got no answer at all; `seconds` are what the
    replica says that the phases of its start took."""

    ready: bool
    reason: str
    message: str
    unanswered: int = 0
    seconds: Mapping[StartPhase, float] = field(default_factory=dict)

    @property
    def phase(self) -> StartPhase:
        """Of a start that is not over."""
        return SERVERS_OWN.get(self.reason, StartPhase.START)


class Prober:
    """Probes one attempt of a replica until told to stop; calls `changed` when it thinks differently of it."""

    def __init__(self, attempt: Attempt, path: str, settings: LocalSettings, *, was_ready: bool) -> None:
        self.attempt = attempt
        self.health = Health(True, "", "") if was_ready else Health(False, "Starting", "Its process has started.")
        self._path, self._settings = path, settings
        self.was_ready = was_ready
        self._since = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds for which it has been ready, or has not been."""
        return time.monotonic() - self._since

    async def run(self, changed: Callable[[], None]) -> None:
        while True:
            before, self.health = self.health, await self._probe()
            if before.ready != self.health.ready:
                self._since = time.monotonic()
                self.was_ready = True
            if before != self.health:
                changed()
            await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        if self.was_ready:
            return self._settings.probe_period
        return EAGER_PERIOD if self.age < 60 else LAZY_PERIOD

    async def _probe(self) -> Health:
        address = self.attempt.address
        if address is None:
            return Health(False, "Starting", "It has not said yet where it listens.")
        try:
            answer = await ask(address, self._path, self._settings.probe_timeout)
        except (OSError, asyncio.IncompleteReadError) as error:
            return self._no_answer(address, error)
        return Health(True, "", "", seconds=_seconds(answer)) if answer.status == 200 else _not_ready(answer)

    def _no_answer(self, address: tuple[str, int], error: Exception) -> Health:
        """A replica that was ready stays so until several probes in a row went unanswered."""
        unanswered = self.health.unanswered + 1
        if self.health.ready and unanswered < self._settings.unready_after:
            return replace(self.health, unanswered=unanswered)
        what = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__})"
        return Health(False, "NoAnswer", f"It does not answer at {address[0]}:{address[1]} {what}.", unanswered)


def _seconds(answer: Answer) -> Mapping[StartPhase, float]:
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return told_seconds(json.loads(answer.body).get("seconds"))
    return {}


def _not_ready(answer: Answer) -> Health:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        said = json.loads(answer.body)
        return Health(False, str(said["reason"])[:64], str(said["message"])[:1000])
    return Health(False, "NotReady", f"It answers {answer.status} to its health probe.")
