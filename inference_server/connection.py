"""One client's connection: its requests are answered one by one, each with one write.

A general server hands every request over in messages and writes an answer in pieces; that costs more than a small
model's prediction. A connection that ends, by either half, cancels what it asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Protocol, cast

from inference_server.messages import Answer, Request
from inference_server.prediction import Prediction
from inference_server.reading import DEAF, IDLE, Arrived, Bounds, Held, Reader

log = logging.getLogger(__name__)

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Application(Protocol):
    """What answers requests. Neither method raises."""

    def respond(self, request: Request) -> Answer | Prediction[Answer] | asyncio.Future[Answer]: ...

    def conclude(self, request: Request, error: BaseException) -> Answer:
        """The answer to a request whose future raised this."""


class Books:
    """What all connections share."""

    def __init__(self, bounds: Bounds, application: Application) -> None:
        self.bounds = bounds
        self.application = application
        self.connections: set[Connection] = set()
        self.held = Held()
        self.leaving = False  # no connection goes on after its answer
        self.empty = asyncio.Event()  # set while there is no connection
        self.empty.set()
        self._date = b""
        self._heads: dict[tuple[int, str], bytes] = {}

    def strike(self, date: bytes) -> None:
        """It is another second."""
        self._date = date
        self._heads.clear()

    def head(self, status: int, type: str) -> bytes:
        """How an answer of this second begins, up to the request's ID."""
        found = self._heads.get((status, type))
        if found is None:
            lines = b"%bdate: %b\r\ncontent-type: %b\r\nx-request-id: "
            found = self._heads[status, type] = lines % (STATUS_LINES[status], self._date, type.encode())
        return found


class Connection(asyncio.Protocol):
    """Made for one accepted socket. It keeps itself in `Books.connections` while it lives."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(books.bounds, books.held, self._loop.time, self._invite)
        self._arrived = self._reader.arrived
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._current: Arrived | None = None  # what is being answered
        self._answering: Prediction[Any] | asyncio.Future[Any] | None = None
        self._held_back = False
        self._unread: asyncio.Event | None = None  # while the client does not read: set when it does
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._books.connections.add(self)
        self._books.empty.clear()

    def connection_lost(self, error: Exception | None) -> None:
        self._books.connections.discard(self)
        if not self._books.connections:
            self._books.empty.set()
        if self._answering is not None:
            self._answering.cancel()
        self._reader.give_up()
        for arrived in (self._current, *self._arrived):
            if arrived is not None:
                self._books.held.let_go(arrived.request)
        self._arrived.clear()
        if self._unread is not None:
            self._unread.set()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._current is None:
            self._go_on()
        elif self._arrived and not self._held_back:
            self._held_back = True  # pipelined: of these, no more is taken in than came with one read
            self._transport.pause_reading()
        if self._reader.stage is DEAF and self._reader.dropped_too_much:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._unread = asyncio.Event()
        self._unread_since = self._loop.time()

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.set()
        self._unread = None
        self._go_on()

    def check(self, now: float) -> None:
        """Refuse or close what takes too long; called about once a second, with the loop's time."""
        bounds, stage, waited = self._books.bounds, self._reader.stage, now - self._reader.since
        if self._unread is not None and now - self._unread_since > bounds.unread_seconds:
            self._transport.abort()
        elif self._current is not None or self._arrived:
            return  # it is we who take long
        elif stage is DEAF and waited > bounds.farewell_seconds:
            self._transport.abort()
        elif stage is IDLE and waited > bounds.idle_seconds:
            self._transport.close()
        else:
            self._reader.check(now)
            self._go_on()

    def leave(self) -> None:
        """Close, unless something was begun; then after its answer, as `Books.leaving` is set."""
        if self._reader.stage is IDLE and self._current is None and not self._arrived:
            self._transport.close()

    def end(self) -> None:
        """Close now, whatever was begun."""
        self._transport.abort()

    def _invite(self) -> None:
        if self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _go_on(self) -> None:
        """Answer what has arrived, one by one."""
        while self._arrived and self._current is None and self._unread is None and not self._transport.is_closing():
            self._current = arrived = self._arrived.popleft()
            if arrived.refusal is not None:
                self._write(arrived, Answer.of(arrived.refusal, arrived.request.id))
                continue
            answer = self._books.application.respond(arrived.request)
            if isinstance(answer, Answer):
                self._write(arrived, answer)
            else:
                self._answering = answer
                answer.add_done_callback(self._answered)
        if self._held_back and self._current is None and not self._arrived:
            self._held_back = False
            self._transport.resume_reading()

    def _answered(self, future: Prediction[Answer] | asyncio.Future[Answer]) -> None:
        self._answering = None
        arrived = self._current
        if arrived is None or future.cancelled():
            return
        error = future.exception()
        answer = future.result() if error is None else self._books.application.conclude(arrived.request, error)
        self._write(arrived, answer)
        if self._arrived or self._held_back:
            self._go_on()

    def _write(self, arrived: Arrived, answer: Answer) -> None:
        goes_on = arrived.goes_on and not self._books.leaving
        head = self._books.head(answer.status, answer.type)
        more = b"" if goes_on else b"connection: close\r\n"
        if answer.headers:
            more += b"".join([b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in answer.headers.items()])
        request_id = arrived.request.id.encode()
        if isinstance(answer.body, bytes):
            body = b"" if arrived.request.method == "HEAD" else answer.body
            length = len(answer.body)
            self._transport.write(b"%b%b\r\n%bcontent-length: %d\r\n\r\n%b" % (head, request_id, more, length, body))
            self._finish(arrived, goes_on)
        else:
            chunked = self._reader.version != "1.0"
            more += b"transfer-encoding: chunked\r\n" if chunked else b""
            self._transport.write(b"%b%b\r\n%b\r\n" % (head, request_id, more))
            self._answering = self._loop.create_task(self._stream(arrived, answer.body, chunked, goes_on and chunked))
            self._answering.add_done_callback(_log_failure)

    async def _stream(self, arrived: Arrived, pieces: AsyncIterator[bytes], chunked: bool, goes_on: bool) -> None:
        """An iterator that raises ends the connection without the last chunk, by which a client knows."""
        whole = False
        try:
            async for piece in pieces:
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                if self._unread is not None:
                    await self._unread.wait()
            whole = True
        finally:
            if not whole:
                self._transport.abort()
        if chunked:
            self._transport.write(b"0\r\n\r\n")
        self._finish(arrived, goes_on)
        self._go_on()

    def _finish(self, arrived: Arrived, goes_on: bool) -> None:
        self._books.held.let_go(arrived.request)
        self._current = self._answering = None
        if self._reader.stage is IDLE:
            self._reader.since = self._loop.time()
        if goes_on:
            return
        if self._reader.stage is DEAF and self._transport.can_write_eof():
            self._transport.write_eof()  # and listen on for a while: closing now could take the answer with it
        else:
            self._transport.close()


def _log_failure(streaming: asyncio.Future[None]) -> None:
    if not streaming.cancelled() and (error := streaming.exception()) is not None:
        log.error("A streamed answer was cut off.", exc_info=error)
