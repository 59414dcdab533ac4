"""The gateway's side of a client's connection: uvicorn's protocol, with shorter ways for requests in their usual form.

A task, an event and a timer for each request, and two messages for each answer, are most of what a prediction costs
under plain uvicorn. Here an app may answer a request without a task, and an answer that is complete is one write.
Besides, what a client may keep waiting, or make us keep, is bounded. Serve with
`uvicorn.run(..., http=HttpProtocol, proxy_headers=False)`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from time import monotonic
from typing import Any, Protocol, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.proxy.cork import Cork
from app.proxy.headers import Header, request_id
from app.proxy.problem import BAD_REQUEST, HEAD_TOO_LARGE, Failure, answer_of

HEAD_LIMIT = 64 << 10  # bytes of a head, of chunk extensions or of trailers, with no byte of a body between them
TURN = "modelyard.turn"  # the ASGI extension's name; its value is the request's `Turn`

App = Callable[..., Any]
Scope = MutableMapping[str, Any]


class AnswersAtOnce(Protocol):
    """What an ASGI app may be besides."""

    def at_once(self, scope: Scope, turn: Turn) -> bool:
        """Take this request, whose body `turn.body` is complete, and see that `turn` is answered or given a task.

        False leaves it to the app's usual call.
        """


class Turn(RequestResponseCycle):
    """One request, when it is its turn on its connection: what an app may do with it that ASGI has no messages for.

    `on_left` is called when the client's connection ends before the answer does.
    """

    on_left: Callable[[], None] | None = None

    def __init__(self, protocol: HttpProtocol, keep_alive: bool) -> None:
        super().__init__(
            scope=protocol.scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=False,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=protocol.expect_100_continue,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self._protocol = protocol

    def begin(self, app: App) -> None:
        """Call `app` with this request, in a task."""
        self._protocol._start_asgi_task(self, app)

    async def run_asgi(self, app: App) -> None:
        self.scope["extensions"] = {TURN: self}  # type: ignore[dict-item]
        try:
            await super().run_asgi(app)
        finally:
            del self.scope["extensions"]  # it refers to itself

    @property
    def is_free(self) -> bool:
        """Whether it can be answered at once: the client is there, reads fast enough, and has no answer yet."""
        return not (self.flow.write_paused or self.disconnected or self.response_started)

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """Answer whole, if it is free to. The headers must be well formed, in lower case, and state the length."""
        lines = [b"%b: %b\r\n" % header for header in (*self.default_headers, *headers)]
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._protocol.cork.write_now(b"%b%b\r\n%b" % (STATUS_LINE[status], b"".join(lines), body))
        self.response_started = self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Flow(FlowControl):
    """Reads nothing more while requests that were read wait for their turn."""

    def __init__(self, transport: asyncio.Transport, waiting: deque[Any]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol over a `Cork`, with a `Turn` for each request as an extension in its scope.

    A head of more than `HEAD_LIMIT` bytes is refused with 431. A client may take as long as uvicorn's
    `timeout_keep_alive` from its connection, or from the answer before, to the end of a request's head. Requests to go
    over to another protocol, such as curl's `--http2`, are answered as what they are without it.
    """

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._at_once: Callable[[Scope, Turn], bool] | None = getattr(self.app, "at_once", None)
        self._next: Turn | None = None  # to begin when all that came with its head is parsed
        self._current: Turn | None = None  # begun last; requests behind it may be parsed already
        self._unparsed = 0  # bytes since the parser had something to tell
        self._idle_since = monotonic()

    # The connection.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.cork = Cork(cast(asyncio.Transport, transport), self.loop)
        super().connection_made(self.cork)
        self.flow = Flow(self.transport, self.pipeline)
        self._tend()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        turn = self._current
        if turn is not None and not turn.response_complete:
            turn.disconnected = True
            turn.message_event.set()
            if turn.on_left is not None:
                turn.on_left()

    def _tend(self) -> None:
        """Close the connection if a request is overdue, else look again when one may be. No timer for each request."""
        wait = float(self.timeout_keep_alive)
        if self.cycle is None or self.cycle.response_complete:
            wait -= monotonic() - self._idle_since
        if wait <= 0:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(wait, self._tend)

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(BAD_REQUEST)
        else:
            if self._unparsed > HEAD_LIMIT:
                self._refuse(HEAD_TOO_LARGE)
        turn, self._next = self._next, None
        if turn is not None and not self.transport.is_closing():
            self._begin(turn)

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as stopped:
                data = self._without_upgrade() + data[stopped.args[0] :]
            else:
                return

    def _without_upgrade(self) -> bytes:
        """The head at which the parser stopped, not asking for another protocol any more, for a parser that goes on.

        Raises HttpParserError for CONNECT, which asks for nothing else.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, self.scope["http_version"].encode(), b"".join(lines))

    def _refuse(self, failure: Failure) -> None:
        """Answer what is no request, and close. Requests before it are answered first, and what follows is not read."""
        turn = self.cycle
        pending = turn is not None and not turn.response_complete
        if pending and not turn.more_body:
            turn.keep_alive = False
            self.transport.pause_reading()
            return
        if not (self.pipeline or (pending and turn.response_started)):
            headers, body = answer_of(failure, request_id(None), "")
            lines = b"".join(b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers))
            self.transport.write(b"%b%bconnection: close\r\n\r\n%b" % (STATUS_LINE[failure.status], lines, body))
        self.transport.close()

    # What the parser calls.

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        if parser.should_upgrade():
            return
        self.headers = []  # trailers are no headers
        path, query = _target(self.url)
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = (self.root_path + path).encode("ascii")
        scope["query_string"] = query
        before = self.cycle
        self.cycle = turn = Turn(self, version != "1.0" and parser.should_keep_alive())
        if before is None or before.response_complete:
            self._next = turn
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((turn, self.app))

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        turn = self.cycle
        if turn.response_complete:
            return
        turn.body += body
        if len(turn.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        turn.message_event.set()

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if self.parser.should_upgrade() or self.cycle.response_complete:
            return
        self.cycle.more_body = False
        self.cycle.message_event.set()

    # Requests and their answers.

    def _begin(self, turn: Turn) -> None:
        self._current = turn
        at_once = None if turn.more_body or turn.disconnected else self._at_once
        if at_once is None or not at_once(turn.scope, turn):  # type: ignore[arg-type]  # no TypedDict of uvicorn's
            turn.begin(self.app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._idle_since = monotonic()
        if self.pipeline:
            turn, _ = self.pipeline.pop()
            self.loop.call_soon(self._begin, cast(Turn, turn))
        self.flow.resume_reading()


def _target(url: bytes) -> tuple[str, bytes]:
    """The path and the query of a request's target. Raises for one that has none."""
    if url.startswith(b"/") and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path.decode("ascii"), query
    parsed = httptools.parse_url(url)
    return parsed.path.decode("ascii"), parsed.query or b""
