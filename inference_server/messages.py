"""Messages: what a client asks and what it is answered, whatever the protocol, and the table of routes between them."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import unquote

import httptools
import orjson

from inference_server.problems import MethodNotAllowed, NotFound, Problem

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Request:
    """One whole request.

    Header names are in lower case; of one that comes twice the last counts. `named` holds the parts of the path that
    its route names. `deadline` is in seconds on the event loop's clock: who asked waits no longer than that.
    """

    __slots__ = ("body", "deadline", "headers", "id", "method", "named", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: Mapping[bytes, bytes], id: str) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.id = id
        self.body: bytes | bytearray = b""
        self.named: Mapping[str, str] = {}
        self.deadline: float | None = None

    def take(self, chunk: bytes) -> None:
        """One more piece of the body."""
        if not self.body:
            self.body = chunk
        elif isinstance(self.body, bytearray):
            self.body += chunk
        else:
            self.body = bytearray(self.body) + chunk

    def header(self, name: str) -> str:
        """The value of a header, named in lower case; empty where it was not sent."""
        return self.headers.get(name.encode("ascii"), b"").decode("latin-1")


@lru_cache(maxsize=256)
def target_of(url: bytes) -> tuple[str, str]:
    """Path and query of a request's target. Raises `httptools.HttpParserError`, `ValueError`."""
    if not url.startswith(b"/"):  # a whole URL, as proxies may be sent; "*" is none
        parts = httptools.parse_url(url)
        url = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
    path, _, query = url.decode("ascii").partition("?")
    return unquote(path) if "%" in path else path, query


def remaining_seconds(headers: Mapping[bytes, bytes]) -> float | None:
    """How long the caller still waits: by X-Request-Timeout, or by X-Request-Deadline and this machine's clock."""
    try:
        if timeout := headers.get(b"x-request-timeout"):
            seconds = float(timeout)
        elif deadline := headers.get(b"x-request-deadline"):
            seconds = float(deadline) - time.time()
        else:
            return None
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


class Answer:
    """What a request is answered. A `body` that is an iterator is streamed, a piece at a time, as it comes.

    A stream that raises is cut off, so that no client takes it for whole. When its client goes, it is closed.
    """

    __slots__ = ("body", "headers", "status", "type")

    def __init__(
        self,
        status: int,
        body: bytes | AsyncIterator[bytes],
        type: str = "application/json",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        self.status = status
        self.body = body
        self.type = type
        self.headers = headers

    @classmethod
    def json(cls, status: int, content: object) -> Answer:
        return cls(status, orjson.dumps(content))

    @classmethod
    def of(cls, problem: Problem, request_id: str) -> Answer:
        """A problem in the platform's own shape (RFC 9457)."""
        body = orjson.dumps(problem.content(request_id))
        return cls(problem.status, body, "application/problem+json", problem.headers)


Respond = Callable[[Request], Answer | Awaitable[Answer]]
Refuse = Callable[[Problem, str], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers `method` at `path`. In a path, `{name}` stands for one part of it, found in `Request.named`.

    `respond` may be a plain function, a coroutine function, or return a future; it may raise any `Problem`, and
    `refuse` writes that down in the words of its protocol.
    """

    method: str
    path: str
    respond: Respond
    refuse: Refuse = Answer.of


class Routes:
    """A table of routes; a path without names in it is found by one look."""

    def __init__(self) -> None:
        self._plain: dict[str, dict[str, Route]] = {}
        self._named: list[tuple[re.Pattern[str], dict[str, Route]]] = []

    def add(self, *routes: Route) -> None:
        for route in routes:
            self._methods_of(route.path)[route.method] = route

    def find(self, request: Request) -> Route:
        """Sets `request.named`. Raises `NotFound`, `MethodNotAllowed`. HEAD is answered like GET."""
        methods = self._plain.get(request.path) or self._match(request)
        route = methods.get(request.method) or (methods.get("GET") if request.method == "HEAD" else None)
        if route is None:
            raise MethodNotAllowed(request.path, ", ".join(methods))
        return route

    def _methods_of(self, path: str) -> dict[str, Route]:
        if "{" not in path:
            return self._plain.setdefault(path, {})
        pattern = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+?)", re.escape(path)))
        for known, methods in self._named:
            if known == pattern:
                return methods
        self._named.append((pattern, {}))
        return self._named[-1][1]

    def _match(self, request: Request) -> Mapping[str, Route]:
        for pattern, methods in self._named:
            if match := pattern.fullmatch(request.path):
                request.named = match.groupdict()
                return methods
        raise NotFound(f"There is nothing here; known are {', '.join((*self._plain, *self._templates()))}.")

    def _templates(self) -> list[str]:
        return [route.path for _, methods in self._named for route in list(methods.values())[:1]]
