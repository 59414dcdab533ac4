"""The HTTP side of the server, a plain ASGI application: predict, health, and what is served."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from inference_server.families.base import InputUnreadable
from inference_server.model import ServedModel
from inference_server.problems import (
    BodyTooLarge,
    InputRefused,
    MethodNotAllowed,
    ModelFailed,
    NotFound,
    NotReady,
    Problem,
    TooBusy,
)
from inference_server.worker import Worker

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_LIMIT_BYTES = 32 << 20
HELD_BODIES = 4  # of the largest size; so that many large requests at once cannot fill the memory
DRAINED_BODIES = 4  # of the largest size are read and dropped, so that the client gets to see the refusal
REQUEST_ID = re.compile(rb"[!-~]{1,128}")


class _ClientGone(Exception):  # noqa: N818
    pass


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, content: object) -> _Answer:
        return cls(status, orjson.dumps(content))

    @classmethod
    def of(cls, problem: Problem, request_id: str) -> _Answer:
        body = orjson.dumps(problem.content(request_id))
        return cls(problem.status, body, "application/problem+json", problem.headers)


class InferenceApp:
    """Answers HTTP for one model; all that touches the model runs in the worker."""

    def __init__(self, model: ServedModel, worker: Worker, body_limit: int = BODY_LIMIT_BYTES) -> None:
        self._model = model
        self._worker = worker
        self._body_limit = body_limit
        self._held_bytes = 0
        self._routes: Mapping[str, tuple[str, Callable[[Scope, Receive], Awaitable[_Answer]]]] = {
            "/predict": ("POST", self._predict),
            "/health/live": ("GET", self._live),
            "/health/ready": ("GET", self._ready),
            "/model": ("GET", self._describe),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope["headers"])
        try:
            answer = await self._route(scope)(scope, receive)
        except Problem as problem:
            answer = _Answer.of(problem, request_id)
        except _ClientGone:
            return
        await _send(answer, request_id, send)

    def _route(self, scope: Scope) -> Callable[[Scope, Receive], Awaitable[_Answer]]:
        method, route = self._routes.get(scope["path"], ("", None))
        if route is None:
            raise NotFound(f"There is nothing here; known are {', '.join(self._routes)}.")
        if scope["method"] != method and (method, scope["method"]) != ("GET", "HEAD"):
            raise MethodNotAllowed(scope["path"], method)
        return route

    async def _live(self, scope: Scope, receive: Receive) -> _Answer:
        return _Answer.json(200, {"status": "live"})

    async def _ready(self, scope: Scope, receive: Receive) -> _Answer:
        phase = self._model.phase
        content = {"reason": phase.reason, "message": phase.message}
        if not self._model.is_ready:
            return _Answer.json(503, content)
        return _Answer.json(200, {**content, "seconds": self._model.describe().get("seconds", {})})

    async def _describe(self, scope: Scope, receive: Receive) -> _Answer:
        self._require_ready()
        return _Answer.json(200, self._model.describe())

    async def _predict(self, scope: Scope, receive: Receive) -> _Answer:
        self._require_ready()
        body = bytearray()
        try:
            await self._read(body, scope, receive)
            return _Answer(200, await self._answered(body))
        finally:
            self._held_bytes -= len(body)

    def _require_ready(self) -> None:
        phase = self._model.phase
        if not self._model.is_ready:
            raise NotReady(f"{phase.reason}: {phase.message}")

    async def _read(self, body: bytearray, scope: Scope, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGone
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > self._body_limit:
                await self._drain(more, receive)
                raise BodyTooLarge(f"The body is larger than {self._body_limit} bytes; send fewer rows at a time.")
            if self._held_bytes + len(chunk) > HELD_BODIES * self._body_limit:
                await self._drain(more, receive)
                raise TooBusy("The requests that wait already fill the memory set aside for them. Try again shortly.")
            self._held_bytes += len(chunk)
            body += chunk

    async def _drain(self, more: bool, receive: Receive) -> None:
        dropped = 0
        while more and dropped < DRAINED_BODIES * self._body_limit:
            message = await receive()
            dropped += len(message.get("body", b""))
            more = message.get("more_body", False)

    async def _answered(self, body: bytearray) -> bytes:
        future = self._worker.start(lambda: self._model.answer(body))
        await asyncio.wait((future,))
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, InputUnreadable):
            raise InputRefused.of(error)
        if isinstance(error, Problem):
            raise error
        log.error("The model failed on a request.", exc_info=error)
        raise ModelFailed("The model failed on this input; the server's log says why.")


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's X-Request-ID where it is fit to be echoed, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return value.decode("ascii")
    return uuid.uuid4().hex


async def _send(answer: _Answer, request_id: str, send: Send) -> None:
    headers = {
        "content-type": answer.type,
        "content-length": str(len(answer.body)),
        "x-request-id": request_id,
        **answer.headers,
    }
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
