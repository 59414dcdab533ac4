"""One prediction on its way: its body to a replica, the replica's answer back to the client, byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic, time

from app.core.protocols import PREDICT, Target
from app.proxy.client import Connection, ConnectionStale, ReplicaLost
from app.proxy.headers import DEADLINE, TIMEOUT, Header, RequestHead
from app.proxy.replicas import Replica
from app.proxy.routes import Route
from app.proxy.server import Turn
from app.proxy.watch import Interruption, Receive, Send, Watched

WHOLE = 256 << 10  # bytes of a body that are gathered before anything is sent; larger ones stream
_BODILESS = (204, 304)
_HEAD = b"%b %b%b%b%bx-request-id: %b\r\n" + DEADLINE + b": %.3f\r\n" + TIMEOUT + b": %.3f\r\n"


class ClientLeft(Exception):  # noqa: N818
    """The client went away before its request was complete."""


class Exchange(Watched):
    """Carries one request: `start` and `finish` without a task where all goes as usual, else `run`, from there on.

    When a replica may be asked twice: where no connection could be made, nothing was sent, and the next replica is
    tried. Where a whole request went over a kept-alive connection that then ended without a single byte of an answer,
    it is sent once more, over a fresh one: this is how a server looks that closed the connection while it was idle. A
    prediction is a read, so the rare one that runs twice this way does no harm. Nothing else is ever repeated: not a
    streamed body, not what a fresh connection took, not what a replica began to answer.
    """

    replica: Replica | None = None  # the one asked last
    awaits_client = False  # it is the client's turn to send
    answered = False  # a head went to the client, so no other can follow
    status = 499  # of the complete answer that the client got
    ahead = 0  # how many were in flight when it began, itself included
    sent = replied = 0.0  # when a replica had the whole request, and when its answer was there or had begun
    _body: bytes = b""
    _body_received = False
    _connection: Connection | None = None
    _started = False
    _then: Callable[[Exchange], None] | None = None
    _fresh_only = False
    _unreachable: tuple[Replica, ...] = ()

    def __init__(
        self,
        route: Route,
        head: RequestHead,
        turn: Turn | None,
        came: float,
        patience: float,
        target: Target = PREDICT,
    ) -> None:
        """`came` is when the client's request did: its own timeout counts from then, `patience` (seconds) from now."""
        self.route = route
        self.turn = turn
        self.came = came
        self.began = monotonic()
        self.request_id = head.request_id
        self.due = self.began + patience
        if head.timeout is not None:
            self.due = min(self.due, came + head.timeout)
        self._head = head
        self._patience = patience
        self._target = target

    def start(self, body: bytes, then: Callable[[Exchange], None]) -> bool:
        """Send a request that is complete over a kept-alive connection; False if there is none, and it is up to `run`.

        `then` is called once, when there is an answer or will be none, or when the exchange was interrupted.
        """
        self._body, self._body_received = body, True
        self.replica = replica = self.route.choose(self._head.key)
        if replica is None or (connection := replica.idle_connection()) is None:
            return False
        self._connection, self._started, self._then = connection, True, then
        self.sent = self.began
        connection.send(self._request(replica), self._tell)
        return True

    def _tell(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(self)

    def leave(self) -> None:
        """The client left."""
        self.interrupt(Interruption.CLIENT_LEFT)

    def cut(self) -> None:
        if self._then is not None:
            self._release()
            self._tell()

    def finish(self) -> bool:
        """Give the client the answer that came. False if it is not complete, or the client must be waited for."""
        connection, turn = self._connection, self.turn
        if connection is None or turn is None or not (connection.complete and turn.is_free):
            return False
        status, body = connection.status, connection.take()
        turn.answer(status, self._headers(connection, len(body)), body)
        self.answered, self.status = True, status
        self._release()
        return True

    def _release(self) -> None:
        """Give back the connection, which is closed unless it has brought a complete answer to a complete request."""
        connection, self._connection = self._connection, None
        if connection is not None and self.replica is not None:
            if not self._body_received:  # it would take the next request for the rest of this one's body
                connection.spoil()
            self.replica.release(connection)

    async def run(self, receive: Receive, send: Send, connect_timeout: float) -> None:
        """Ask a replica and answer the client. Raises `ReplicaLost`, `AnswerInvalid` or `ClientLeft`."""
        self._receive, self._send = receive, send
        try:
            if not self._body_received:
                await self._gather()
            while not (self._connection and await self._asked(self._connection)):
                self._connection = await self._reach(connect_timeout)
        finally:
            self._release()

    async def _gather(self) -> None:
        """Take the whole body, or its first `WHOLE` bytes and a bit."""
        parts = [await self._next_piece()]
        size = len(parts[0])
        while not self._body_received and size < WHOLE:
            parts.append(await self._next_piece())
            size += len(parts[-1])
        self._body = b"".join(parts)
        self._fresh_only = not self._body_received

    async def _next_piece(self) -> bytes:
        """The part of the body in the next message from the client."""
        self.awaits_client = True
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self.awaits_client = False
        self._body_received = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        return piece

    async def _reach(self, timeout: float) -> Connection:
        """A connection to a replica; where one was chosen already, to this one if it takes connections."""
        replica = self.replica or self.route.choose(self._head.key)
        while replica is not None:
            self.replica = replica
            if not self._fresh_only and (kept := replica.idle_connection()):
                return kept
            try:
                return await replica.connect(timeout)
            except OSError:
                self._unreachable += (replica,)
            replica = self.route.choose(self._head.key, self._unreachable)
        raise ReplicaLost("no replica takes connections")

    async def _asked(self, connection: Connection) -> bool:
        """Whether the client has the answer that came on this connection; else the request may be sent once more."""
        if not self._started:
            await self._ask(connection)
        self._started, self.replied = False, monotonic()
        if connection.error is None:
            await self._answer(connection)
            return True
        if not isinstance(connection.error, ConnectionStale):
            raise connection.error
        self._fresh_only = True
        self._release()
        return False

    async def _ask(self, connection: Connection) -> None:
        """Send the request; returns when an answer has come, or has begun, or will never."""
        assert self.replica is not None
        answer = asyncio.get_running_loop().create_future()
        connection.send(self._request(self.replica), partial(_resolve, answer))
        if not self._body_received:
            await self._upload(connection)
        self.sent = monotonic()
        await answer

    def _request(self, replica: Replica) -> bytes:
        """The request as it is sent, with its whole body or the first piece of it."""
        left = max(self.due - (self.sent or monotonic()), 0.001)
        method, path = self._target
        head = _HEAD % (
            method, replica.prefix, path, replica.lines, self._head.lines, self.request_id, time() + left, left
        )  # fmt: skip
        if self._body_received:
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(self._body), self._body)
        if self._head.length is not None:
            return b"%bcontent-length: %d\r\n\r\n%b" % (head, self._head.length, self._body)
        return b"%btransfer-encoding: chunked\r\n\r\n%b" % (head, _chunk(self._body))

    async def _upload(self, connection: Connection) -> None:
        """Pass on what is left of the body, as fast as the replica reads, until it has begun to answer."""
        while not self._body_received:
            piece = await self._next_piece()
            if connection.answering:
                connection.spoil()
                return
            await connection.write(piece if self._head.length is not None else _chunk(piece, self._body_received))

    async def _answer(self, connection: Connection) -> None:
        """Respond. A transport that a client's reset has closed under the server complains in its own way."""
        if self.finish():
            return
        try:
            await self._respond(connection)
        except (OSError, RuntimeError) as error:
            raise ClientLeft from error

    async def _respond(self, connection: Connection) -> None:
        more = not connection.complete
        body = connection.take()
        headers = self._headers(connection, connection.length if more else len(body))
        self.answered = True
        await self._send({"type": "http.response.start", "status": connection.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        while more:
            self.due = monotonic() + self._patience  # from now on it is for each piece
            piece = await connection.read()
            more = bool(piece)
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})
        self.status = connection.status

    def _headers(self, connection: Connection, length: int | None) -> list[Header]:
        headers = connection.headers
        headers.append((b"x-request-id", self.request_id))
        if length is not None and connection.status not in _BODILESS:
            headers.append((b"content-length", b"%d" % length))
        return headers


def _resolve(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


def _chunk(piece: bytes, last: bool = False) -> bytes:
    framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return framed + b"0\r\n\r\n" if last else framed
