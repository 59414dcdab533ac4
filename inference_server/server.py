"""The server: accepts connections, looks after them once a second, and ends them with patience."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from email.utils import formatdate

from inference_server.connection import Application, Books, Connection
from inference_server.reading import Bounds

CHECK_SECONDS = 1.0
ACCEPTED_AT_ONCE = 2048


class Server:
    """Answers HTTP/1.1 on a listening socket."""

    def __init__(self, application: Application, bounds: Bounds | None = None) -> None:
        self._books = Books(bounds or Bounds(), application)
        self._listening: asyncio.Server | None = None
        self._checks: asyncio.TimerHandle | None = None

    async def start(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._check(loop)
        self._listening = await loop.create_server(
            lambda: Connection(self._books), sock=listener, backlog=ACCEPTED_AT_ONCE
        )

    async def stop(self, patience: float) -> None:
        """Accept no more, answer what was begun for `patience` seconds, then end what is left."""
        self._books.leaving = True
        if self._listening is not None:
            self._listening.close()
        for connection in tuple(self._books.connections):
            connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._books.empty.wait()
        for connection in tuple(self._books.connections):
            connection.end()
        if self._checks is not None:
            self._checks.cancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._books.strike(formatdate(usegmt=True).encode("ascii"))
        now = loop.time()
        for connection in tuple(self._books.connections):
            connection.check(now)
        self._checks = loop.call_later(CHECK_SECONDS, self._check, loop)
