"""One prediction on its way: its body to a replica, the replica's answer back to the client, byte for byte."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic

from app.proxy.client import Connection, ConnectionStale, ReplicaLost
from app.proxy.headers import request_head
from app.proxy.replicas import Replica
from app.proxy.routes import Route
from app.proxy.server import WHOLE_ANSWER, WholeAnswer
from app.proxy.watch import Message, Receive, Watched

Send = Callable[[Message], Awaitable[None]]

WHOLE = 256 << 10  # bytes of a body that are gathered before anything is sent; larger ones stream
_BODILESS = (204, 304)
_NONE: dict[str, WholeAnswer] = {}


class ClientLeft(Exception):  # noqa: N818
    """The client went away before its request was complete."""


class Exchange(Watched):
    """Carries one request. When a replica may be asked twice:

    Where no connection could be made, nothing was sent, and the next replica is tried. Where a whole request went over
    a kept-alive connection that then ended without a single byte of an answer, it is sent once more, over a fresh one:
    this is how a server looks that closed the connection while it was idle. A prediction is a read, so the rare one
    that runs twice this way does no harm. Nothing else is ever repeated: not a streamed body, not what a fresh
    connection took, not what a replica began to answer.
    """

    replica: Replica | None = None  # the one asked last
    awaits_client = True  # it is the client's turn to send
    answered = False  # a head went to the client, so no other can follow
    status = 499  # of the complete answer that the client got
    _fresh_only = False
    _unreachable: tuple[Replica, ...] = ()

    def __init__(self, route: Route, scope: Message, receive: Receive, send: Send, connect_timeout: float) -> None:
        super().__init__(receive)
        self._route = route
        self._send = send
        self._whole: WholeAnswer | None = scope.get("extensions", _NONE).get(WHOLE_ANSWER)
        self._connect_timeout = connect_timeout
        self._lines, self._length, self.request_id = request_head(scope["headers"])

    async def run(self) -> None:
        """Ask a replica and answer the client. Raises `ReplicaLost`, `AnswerInvalid` or `ClientLeft`."""
        self._body = self._piece(await self.receive())
        if not self.body_received:
            await self._gather()
        while (replica := self._route.choose(None, self._unreachable)) is not None:
            self.replica = replica
            connection = None if self._fresh_only else replica.idle_connection()
            if connection is None and (connection := await self._connect(replica)) is None:
                continue
            try:
                answer = connection.send(self._request(replica))
                if not self.body_received:
                    await self._upload(connection)
                await answer
                if connection.error is None:
                    await self._answer(connection)
                    return
                if not isinstance(connection.error, ConnectionStale):
                    raise connection.error
                self._fresh_only = True
            finally:
                if not self.body_received:  # it would take the next request for the rest of this one's body
                    connection.spoil()
                replica.release(connection)
        raise ReplicaLost("no replica takes connections")

    def _piece(self, message: Message) -> bytes:
        """The part of the body in this message from the client."""
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self.awaits_client = False
        self.body_received = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def _next_piece(self) -> bytes:
        self.awaits_client = True
        return self._piece(await self.receive())

    async def _gather(self) -> None:
        """Take the whole body, or its first `WHOLE` bytes and a bit."""
        parts, size = [self._body], len(self._body)
        while not self.body_received and size < WHOLE:
            parts.append(await self._next_piece())
            size += len(parts[-1])
        self._body = b"".join(parts)
        self._fresh_only = not self.body_received

    async def _connect(self, replica: Replica) -> Connection | None:
        try:
            return await replica.connect(self._connect_timeout)
        except OSError:
            self._unreachable += (replica,)
            return None

    def _request(self, replica: Replica) -> bytes:
        """The request as it is sent, with its whole body or the first piece of it."""
        start = b"POST %b/predict%b%bx-request-id: %b\r\n" % (
            replica.prefix,
            replica.lines,
            self._lines,
            self.request_id,
        )
        if self.body_received:
            return b"%bcontent-length: %d\r\n\r\n%b" % (start, len(self._body), self._body)
        if self._length is not None:
            return b"%bcontent-length: %d\r\n\r\n%b" % (start, self._length, self._body)
        return b"%btransfer-encoding: chunked\r\n\r\n%b" % (start, _chunk(self._body))

    async def _upload(self, connection: Connection) -> None:
        """Pass on what is left of the body, as fast as the replica reads, until it has begun to answer."""
        while not self.body_received:
            piece = await self._next_piece()
            if connection.answering:
                connection.spoil()
                return
            await connection.write(piece if self._length is not None else _chunk(piece, self.body_received))

    async def _answer(self, connection: Connection) -> None:
        """Respond. A transport that a client's reset has closed under the server complains in its own way."""
        try:
            await self._respond(connection)
        except (OSError, RuntimeError) as error:
            raise ClientLeft from error

    async def _respond(self, connection: Connection) -> None:
        status, headers, more = connection.status, connection.headers, not connection.complete
        body = connection.take()
        headers.append((b"x-request-id", self.request_id))
        if status not in _BODILESS and (length := connection.length if more else len(body)) is not None:
            headers.append((b"content-length", b"%d" % length))
        self.answered = True
        if not more and self._whole is not None and self._whole(status, headers, body):
            self.status = status
            return
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        if more:
            await self._stream(connection)
        self.status = status

    async def _stream(self, connection: Connection) -> None:
        """Pass on what is left of the answer; from now on the deadline is for each piece."""
        more = True
        while more:
            self.waiting_since = monotonic()
            piece = await connection.read()
            more = bool(piece)
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})


def _chunk(piece: bytes, last: bool = False) -> bytes:
    framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return framed + b"0\r\n\r\n" if last else framed
