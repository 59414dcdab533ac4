"""Reading: bytes of a connection become whole requests, or the refusal of what is too large, too slow or no HTTP.

llhttp parses, strictly: a request with both Content-Length and Transfer-Encoding, or two lengths, is an error.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

import httptools

from inference_server.messages import Request, remaining_seconds, target_of
from inference_server.problems import BodyTooLarge, HeadTooLarge, Problem, RequestTooSlow, RequestUnreadable, TooBusy

REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_PROCESS = secrets.token_hex(8)
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may take of this server."""

    head_bytes: int = 64 << 10
    body_bytes: int = 32 << 20
    held_bodies: int = 4  # of the largest size, of all clients together: many large requests cannot fill the memory
    dropped_bodies: int = 4  # of the largest size are read and dropped, so that a client gets to see its refusal
    head_seconds: float = 10
    body_seconds: float = 20  # and on top of them what the body takes at:
    slowest_bytes_per_second: int = 64 << 10
    idle_seconds: float = 120  # longer than a proxy keeps an idle connection, so that the proxy is the one to close it
    farewell_seconds: float = 5  # for a client to read its refusal and to stop sending
    unread_seconds: float = 60  # for a client to go on reading its answer


class Held:
    """Bytes of bodies that all connections hold together."""

    def __init__(self) -> None:
        self.bytes = 0

    def let_go(self, request: Request | None) -> None:
        """Forget the body of a request that was answered, refused or given up."""
        if request is not None:
            self.bytes -= len(request.body)
            request.body = b""


class Arrived:
    """A request, or what it is refused with, and whether its client may go on after the answer."""

    __slots__ = ("goes_on", "refusal", "request")

    def __init__(self, request: Request, refusal: Problem | None, goes_on: bool) -> None:
        self.request = request
        self.refusal = refusal
        self.goes_on = goes_on


class Stage(Enum):
    IDLE = auto()  # between two requests
    HEAD = auto()
    BODY = auto()
    DEAF = auto()  # the last one was read or refused: what still comes is dropped


IDLE, HEAD, BODY, DEAF = Stage  # as looking a member up in its enumeration takes time


class Reader:
    """`feed` it what comes; what is whole or refused is in `arrived`, in order. A refusal is the last to arrive."""

    def __init__(self, bounds: Bounds, held: Held, clock: Callable[[], float], expect: Callable[[], None]) -> None:
        self._bounds = bounds
        self._held = held
        self._clock = clock
        self._expect = expect  # called when a client wants to hear that its body may come
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._request: Request | None = None  # whose body comes
        self._took = 0  # bytes of the head, or of the body, or dropped
        self._fresh = False  # the head began with the last read
        self.stage = IDLE
        self.since = clock()  # when the stage began
        self.arrived: deque[Arrived] = deque()

    @property
    def version(self) -> str:
        """Of HTTP, of the last request."""
        return self._parser.get_http_version()  # type: ignore[no-any-return]

    @property
    def dropped_too_much(self) -> bool:
        """Of a client that goes on sending after its refusal."""
        most = self._bounds.dropped_bodies * self._bounds.body_bytes
        return self._took > most

    def feed(self, data: bytes) -> None:
        if self.stage is DEAF:
            self._took += len(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no other protocol is spoken: the request is answered in this one
            self._turn_deaf()
        except httptools.HttpParserError as error:
            self.refuse(RequestUnreadable(f"The request is not HTTP/1.1 as it is understood here: {error}."))
        if self.stage is HEAD:
            self._bound_head(len(data))

    def check(self, now: float) -> None:
        """Refuse a request that takes too long to arrive."""
        bounds, waited = self._bounds, now - self.since
        if self.stage is HEAD and waited > bounds.head_seconds:
            self.refuse(RequestTooSlow(f"The headers took longer than {bounds.head_seconds:g} s."))
        elif self.stage is BODY and waited > bounds.body_seconds + self._took / bounds.slowest_bytes_per_second:
            self.refuse(RequestTooSlow(f"Of the body only {self._took} bytes came in {waited:.0f} s."))

    def refuse(self, refusal: Problem) -> None:
        if self.stage is DEAF:
            return
        request = self._request or Request("", "", "", {}, _request_id({}))
        self.give_up()
        self._turn_deaf()
        self.arrived.append(Arrived(request, refusal, goes_on=False))

    def give_up(self) -> None:
        """Let go of what came of a request that will not be whole."""
        self._held.let_go(self._request)
        self._request = None

    def on_message_begin(self) -> None:
        self.stage = HEAD
        self.since = self._clock()
        self._took = 0
        self._fresh = True
        self._url = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        headers = self._headers
        path, query = target_of(self._url)
        request = Request(self._parser.get_method().decode(), path, query, headers, _request_id(headers))
        if (remaining := remaining_seconds(headers)) is not None:
            request.deadline = self.since + remaining
        self._request = request
        self.stage = BODY
        self._took = 0
        if int(headers.get(b"content-length", 0)) > self._bounds.body_bytes:
            self._refuse_size()
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self.refuse(RequestUnreadable("Of the transfer codings only chunked is read here."))
        elif self._parser.should_upgrade() and headers.keys() & {b"content-length", b"transfer-encoding"}:
            self.refuse(RequestUnreadable("No other protocol is spoken here; send the request without an upgrade."))
        elif headers.get(b"expect", b"").lower() == b"100-continue":
            self._expect()

    def on_body(self, chunk: bytes) -> None:
        request, held = self._request, self._held
        if request is None:
            return
        self._took += len(chunk)
        if self._took > self._bounds.body_bytes:
            self._refuse_size()
        elif held.bytes + len(chunk) > self._bounds.held_bodies * self._bounds.body_bytes:
            self.refuse(
                TooBusy("The requests that wait fill the memory set aside for them already. Try again shortly.")
            )
        else:
            held.bytes += len(chunk)
            request.take(chunk)

    def on_message_complete(self) -> None:
        if self._request is None:
            return
        self.stage = IDLE
        goes_on = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self.arrived.append(Arrived(self._request, None, goes_on))
        self._request = None

    def _refuse_size(self) -> None:
        self.refuse(
            BodyTooLarge(f"The body is larger than {self._bounds.body_bytes} bytes; send fewer rows at a time.")
        )

    def _bound_head(self, came: int) -> None:
        self._took += 0 if self._fresh else came
        self._fresh = False
        if self._took > self._bounds.head_bytes:
            self.refuse(HeadTooLarge(f"The headers are larger than {self._bounds.head_bytes} bytes."))

    def _turn_deaf(self) -> None:
        self.stage = DEAF
        self.since = self._clock()
        self._took = 0


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The caller's X-Request-ID where it is fit to be echoed, else a new one."""
    given = headers.get(b"x-request-id")
    if given and REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS}{next(_NUMBERS):016x}"
