"""Replicas, polite and rude: small HTTP servers on loopback, each named for what it does to its caller."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from app.core.addresses import Address

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Received:
    """A request as it arrived: its request line, its headers in lower case, and its body."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, f"{name!r} came {len(found)} times"
        return found[0] if found else None


async def read_head(reader: StreamReader) -> Received:
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
    return Received(lines[0], headers, b"")


async def read_request(reader: StreamReader) -> Received:
    request = await read_head(reader)
    if request.header(b"transfer-encoding") == b"chunked":
        while size := int(await reader.readline(), 16):
            request.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        request.body = await reader.readexactly(int(request.header(b"content-length") or 0))
    return request


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class Upstream:
    """Answers each request with its own body, and keeps the connection. `requests` were received in full."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        self.address = Address(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while await self.converse(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    async def receive(self, reader: StreamReader) -> Received:
        request = await read_request(reader)
        self.requests.append(request)
        return request

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """One request and its answer; whether to go on with this connection."""
        writer.write(answer((await self.receive(reader)).body, b"Content-Type: application/json"))
        return True


class Sends(Upstream):
    """Answers a request with these bytes, one write for each, and closes unless `keep`."""

    pause = 0.001  # seconds between two pieces, so that they do not travel together

    def __init__(self, *pieces: bytes, keep: bool = False) -> None:
        super().__init__()
        self._pieces = pieces
        self._keep = keep

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        for piece in self._pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(self.pause)
        return self._keep


class ClosesBeforeAnswering(Sends):
    pass


class AnswersInChunks(Sends):
    def __init__(self, pieces: Sequence[bytes]) -> None:
        chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        super().__init__(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n", keep=True)


class TakesItsTime(AnswersInChunks):
    """An answer of ten pieces, a tenth of a second apart."""

    pause = 0.1

    def __init__(self) -> None:
        super().__init__([b"piece"] * 10)


class AnswersAtOnceInChunks(Sends):
    def __init__(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        super().__init__(b"%b%x\r\n%b\r\n0\r\nX-Trailer: t\r\n\r\n" % (head, len(body), body), keep=True)


class NeverStopsSending(Upstream):
    """Sends `opening`, then `again` for ever."""

    def __init__(self, opening: bytes, again: bytes) -> None:
        super().__init__()
        self._opening, self._again = opening, again
        self.sent = 0

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        writer.write(self._opening)
        while True:
            writer.write(self._again)
            await writer.drain()
            self.sent += len(self._again)
            await asyncio.sleep(0)


class AnswersWhenReleased(Upstream):
    """Holds every request until `release` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        request = await self.receive(reader)
        closing = asyncio.ensure_future(reader.read(1))
        releasing = asyncio.ensure_future(self.release.wait())
        await asyncio.wait({closing, releasing}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (closing, releasing):
            waiting.cancel()
            await asyncio.wait({waiting})
        if not self.release.is_set():
            return False
        writer.write(answer(request.body))
        return True


class OneAtATime(Upstream):
    """Takes `seconds` for each request, one after the other over all its connections."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._turn = asyncio.Lock()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        request = await self.receive(reader)
        async with self._turn:
            await asyncio.sleep(self.seconds)
        writer.write(answer(request.body))
        return True


class TellsBitByBit(Upstream):
    """Sends a head of server-sent events at once, and each event when `events` brings one; None ends the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        writer.write(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        while event := await self.events.get():
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n")
        return True


class StopsInTheMiddle(Upstream):
    """Sends half of a large answer, and the other half when `release` is set."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.body = bytes(range(256)) * (size // 256)
        self.release = asyncio.Event()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        whole = answer(self.body)
        writer.write(whole[: len(whole) // 2])
        await self.release.wait()
        writer.write(whole[len(whole) // 2 :])
        return True


class AnswersOnceThenIsGone(Upstream):
    """Answers the first request of each connection; the next one it takes in full, and closes without a word.

    The first answers wait until `together` connections are there.
    """

    def __init__(self, together: int = 1) -> None:
        super().__init__()
        self._together = together
        self._answered: set[StreamWriter] = set()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        request = await self.receive(reader)
        if writer in self._answered:
            return False
        while self.connections < self._together:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        self._answered.add(writer)
        writer.write(answer(request.body))
        return True


class AnswersOnceThenBreaksOff(AnswersOnceThenIsGone):
    """As before, but there is a first byte of an answer before it closes."""

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        if not await super().converse(reader, writer):
            writer.write(b"H")
            return False
        return True


class Resets(Upstream):
    """Takes a request in full and resets the connection."""

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await self.receive(reader)
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


class SpeaksUnasked(Upstream):
    """After each answer, when told to, it sends another that nobody asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.speak = asyncio.Event()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        request = await self.receive(reader)
        writer.write(answer(request.body))
        await self.speak.wait()
        writer.write(answer(b"unasked"))
        return True


class RefusesTheHead(Upstream):
    """Answers 413 as soon as it has read the head, and reads no more."""

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await read_head(reader)
        writer.write(answer(b"too large", status=b"413 Content Too Large"))
        await writer.drain()
        await reader.read()
        return False


class AnswersTheHead(Upstream):
    """Answers as soon as it has read the head, and keeps the connection for what comes behind the body."""

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        head = await read_head(reader)
        writer.write(answer(b"early", status=b"503 Service Unavailable"))
        await writer.drain()
        await reader.readexactly(int(head.header(b"content-length") or 0))
        return True


class NeverReads(Upstream):
    """Takes connections and reads nothing but a head, until it is told to leave."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = asyncio.Event()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        await read_head(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await self.leave.wait()
        return False
