"""HTTP/1.1 towards one replica: a connection that carries one request at a time, on asyncio and httptools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from app.core.addresses import Address
from app.proxy.headers import ANSWER_STOPS, PLAIN_CONNECTION, Header, end_to_end

HELD = 64 << 10  # bytes of an answer that are held, so that it goes out whole; longer ones stream with flow control
HEAD_LIMIT = 64 << 10  # bytes of headers, interim answers or trailers with no byte of body between them


class ReplicaLost(Exception):  # noqa: N818
    """The replica's connection ended before its answer did."""


class ConnectionStale(ReplicaLost):
    """A kept-alive connection ended without one byte of an answer: most likely it was closed while idle."""


class AnswerInvalid(Exception):  # noqa: N818
    """The replica sent something that is no answer in HTTP/1.1; the text says what."""


class Connection(asyncio.Protocol):
    """One connection: `send` a request, `write` what is left of its body, and `read` what is left of its answer.

    When what was given to `send` is called, either `error` says why there is no answer, or `status`, the end-to-end
    `headers` (lower case), the body's `length` (None: only its end will tell) and `complete` describe it. An answer
    that states a length of at most `HELD` is complete by then. After a complete answer the connection may carry the
    next request, if `reusable`. For one request at a time.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._then: Callable[[], None] | None = None
        self._writable = True
        self._paused = False
        self._keep = True
        self._used = False  # has answered before
        self.error: ReplicaLost | AnswerInvalid | None = None
        self.idle_since = 0.0
        self._expect()
        self.complete = True

    def _expect(self) -> None:
        """Forget the answer before."""
        self.status = 0  # until its head is complete
        self.headers: list[Header] = []
        self.length: int | None = None
        self.complete = False
        self._begun = False  # a byte of it has come
        self._chunked = self._nominates = False
        self._parts: list[bytes] = []
        self._held = self._unparsed = 0

    # What the proxy calls.

    def send(self, request: bytes, then: Callable[[], None]) -> None:
        """Send a head and its body, or what there is of it yet. `then` is called once it is answered, or never will."""
        self._expect()
        self._then = then
        self._transport.write(request)

    async def write(self, piece: bytes) -> None:
        """Add to the request's body; waits while the replica reads too slowly and does not answer."""
        self._transport.write(piece)
        while not (self._writable or self.answering):
            await self._progress()

    @property
    def answering(self) -> bool:
        """An answer has begun, or none will come: there is no point in sending more of the request."""
        return self._begun or self.error is not None

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        parts = self._parts
        self._parts, self._held = [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read(self) -> bytes:
        """The next piece of the body; empty at its end. Raises `ReplicaLost` or `AnswerInvalid`."""
        while not (self._parts or self.complete):
            if self.error is not None:
                raise self.error
            await self._progress()
        return self.take()

    @property
    def reusable(self) -> bool:
        return self._keep and self.complete

    def spoil(self) -> None:
        """Never reuse this connection: its request was not sent to the end."""
        self._keep = False

    def close(self) -> None:
        """Nothing more will be told."""
        self._keep = False
        self._then = None
        self._transport.abort()

    async def _progress(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        """Tell that the answer has begun to be one, or that there is more of it, or that none will come."""
        self._wake_waiter()
        if self._then is not None:
            then, self._then = self._then, None
            then()

    def _wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: ReplicaLost | AnswerInvalid) -> None:
        self._keep = False
        self._transport.abort()
        if not self.complete and self.error is None:
            self.error = error
            self._wake()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Whoever waits is told when all of `data` is parsed: by then it is known what stands behind an answer."""
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(AnswerInvalid(str(error.__context__ or error)))
        if self.complete:
            self._wake()
        elif self.error is None:
            self._incomplete(len(data))

    def _incomplete(self, received: int) -> None:
        """Pass on what streams; hold a replica to our limits of memory, in what is no body and in what is not taken."""
        held = sum(map(len, self._parts))
        if held == self._held:
            self._unparsed += received
            if self._unparsed > HEAD_LIMIT:
                self._fail(AnswerInvalid(f"more than {HEAD_LIMIT} bytes of headers or trailers"))
                return
        else:
            self._unparsed = 0
        self._held = held
        if self.status and (self.length is None or self.length > HELD):
            if held > HELD and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            self._wake()

    def eof_received(self) -> None:
        self._keep = False
        if self.status and self.length is None and not self._chunked:  # it ends where the connection does
            self.complete = True
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        kind = ConnectionStale if self._used and not self._begun else ReplicaLost
        self._fail(kind(str(error or "it closed the connection")))

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake_waiter()

    # What the parser calls. An exception here ends up in data_received, as HttpParserCallbackError.

    def on_message_begin(self) -> None:
        if self.complete:
            raise AnswerInvalid("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:  # a trailer
            return
        name = name.lower()
        if name not in ANSWER_STOPS:
            self.headers.append((name, value))
        elif name == b"content-length":
            self.length = int(value)
        elif name == b"connection" and value.lower() not in PLAIN_CONNECTION:
            self.headers.append((name, value))
            self._nominates = True
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise AnswerInvalid("a transfer encoding other than chunked")
            self._chunked = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 200 <= status <= 599:
            self.status = status
            if self._nominates:
                self.headers = end_to_end(self.headers)
        elif status == 101 or status > 599:
            raise AnswerInvalid(f"status {status}")

    def on_body(self, piece: bytes) -> None:
        self._parts.append(piece)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = self._used = True
            self._keep = self._keep and self._parser.should_keep_alive()
        else:  # interim: forget its headers
            self.headers, self.length = [], None
            self._chunked = self._nominates = False


async def connect(address: Address, timeout: float) -> Connection:
    """A new connection. Raises OSError (TimeoutError is one) if there is none within `timeout` seconds."""
    tls = address.via.tls if address.via else None
    async with asyncio.timeout(timeout):
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, address.host, address.port, ssl=tls
        )
    return connection
