"""The predict path asked from inside this process: the same machinery, without a client's connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from app.core.predictions import Headers, Outcome, Question
from app.core.settings import DeferredSettings
from app.proxy.asgi import App
from app.proxy.headers import Header
from app.proxy.problem import REPLICA_LOST, Failure, answer_of
from app.proxy.routes import RouteTable
from app.proxy.watch import Message

ANSWER_TOO_LARGE = Failure(
    502,
    "answer-too-large",
    "The answer is too large to be kept",
    "The deployment's server answered with more bytes than are kept. Send fewer rows at once.",
    retryable=False,
)
_REPEATED = frozenset({b"content-length", b"x-request-id"})  # each delivery writes its own


class Inside:
    """Asks `app`, which is told later."""

    app: App

    def __init__(self, routes: RouteTable, settings: DeferredSettings) -> None:
        self._routes = routes
        self._concurrency = settings.concurrency
        self._limit = settings.max_answer_bytes

    def away(self, task_id: str) -> float:
        """In how many seconds a replica is expected; 0 if one is ready, or none is expected."""
        route = self._routes.get(task_id)
        return route.spec.expected_in if route and route.spec.expected and not route.ready else 0

    def width(self, task_id: str) -> int:
        """How many may ask at once, so that others are answered too."""
        route = self._routes.get(task_id)
        return self._concurrency * max(1, route.size if route else 0)

    async def ask(self, task_id: str, question: Question) -> Outcome:
        """The answer; a problem document where it broke off, or is too large. Cancel it to give up."""
        path = f"/api/v1/inference/{task_id}/predict"
        answer = _Answer(self._limit)
        await self.app(_scope(path, question), _client(question.body), answer.send)
        if answer.is_complete:
            return Outcome(answer.status, answer.headers, b"".join(answer.parts))
        return refusal(ANSWER_TOO_LARGE if answer.is_too_large else REPLICA_LOST, path, question.request_id)


def refusal(failure: Failure, path: str, request_id: str) -> Outcome:
    """A failure as an outcome."""
    headers, body = answer_of(failure, request_id.encode(), path)
    return Outcome(failure.status, _lasting(headers), body)


def _lasting(headers: Iterable[Header]) -> Headers:
    return tuple((name, value) for name, value in headers if name not in _REPEATED)


class _Answer:
    """What is sent to us. Too large an answer ends as if its client had left."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.status = 0
        self.headers: Headers = ()
        self.parts: list[bytes] = []
        self.is_complete = self.is_too_large = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = _lasting(message["headers"])
            return
        self.parts.append(message.get("body", b""))
        self._limit -= len(self.parts[-1])
        if self._limit < 0:
            self.is_too_large = True
            raise ConnectionError("more than is kept")
        self.is_complete = not message.get("more_body", False)


def _scope(path: str, question: Question) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            *question.headers,
            (b"content-length", b"%d" % len(question.body)),
            (b"x-request-id", question.request_id.encode()),
        ],
        "client": None,
        "server": None,
    }


def _client(body: bytes) -> Callable[[], Awaitable[Message]]:
    """A client that sends the body at once and never leaves."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive
