"""Logs: the lines of a log as they are written, each once, whatever becomes of the connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from modelyard.errors import TimedOut, Unavailable
from modelyard.transport import LONGEST_RETRY_AFTER, Transport, pause
from modelyard.waiting import Deadline

END = "end"


class LogFollower:
    """Follows one log over as many connections as it takes. Iterate once.

    The gateway names each event with the byte offset behind its lines; that offset is where the next connection goes
    on, and an event at or before it has been seen. Gives up, with the connection's error, when none could be made for
    as long as the transport's patience lasts.
    """

    def __init__(self, transport: Transport, path: str, params: Mapping[str, Any], start: Mapping[str, Any]) -> None:
        """`start` are the parameters that say where a log that nothing was seen of begins."""
        self._transport = transport
        self._path = path
        self._params = {**params, "follow": "true"}
        self._start = start
        self._offset: int | None = None
        self._ended = False
        self._outage = Deadline(transport.patience)
        self._failures = 0

    def __iter__(self) -> Iterator[str]:
        while not self._ended:
            try:
                yield from self._connection()
            except (Unavailable, TimedOut) as error:
                if self._outage.remaining < 0:
                    raise
                self._rest(error.retry_after or 0.0)
            else:
                if not self._ended:
                    self._rest(0.0)

    def _rest(self, at_least: float) -> None:
        self._transport.sleep(max(pause(self._failures), min(at_least, LONGEST_RETRY_AFTER)))
        self._failures += 1

    def _connection(self) -> Iterator[str]:
        last_id = None if self._offset is None else str(self._offset)
        start = self._start if last_id is None else {}
        with self._transport.events(self._path, {**self._params, **start}, last_id) as events:
            try:
                yield from self._lines(events)
            finally:
                self._outage = Deadline(self._transport.patience)

    def _lines(self, events: httpx2.EventSource) -> Iterator[str]:
        for event in events:
            if event.event == END:
                self._ended = True
                return
            if event.id.isdecimal() and int(event.id) > (self._offset or 0):
                self._failures = 0
                yield from self._unseen(event)

    def _unseen(self, event: httpx2.ServerSentEvent) -> Iterator[str]:
        self._offset = int(event.id)
        yield from event.data.split("\n")


def lines_of(text: str) -> list[str]:
    """The lines of a log, which end with line feeds and with nothing else."""
    return text.removesuffix("\n").split("\n") if text else []
