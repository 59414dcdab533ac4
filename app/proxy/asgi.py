"""The predict path: a plain ASGI app in front of the gateway's own, which passes predictions through to replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic

from app.core.settings import PredictSettings
from app.proxy.client import AnswerInvalid, ReplicaLost
from app.proxy.exchange import ClientLeft, Exchange, Send
from app.proxy.holding import Held, Holding
from app.proxy.problem import (
    ANSWER_INVALID,
    BODY_TOO_SLOW,
    CONTENT_TYPE,
    DEADLINE_EXCEEDED,
    REPLICA_LOST,
    Failure,
    problem,
)
from app.proxy.routes import Route, RouteTable
from app.proxy.watch import Interruption, Message, Receive, Watch

App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class PredictProxy:
    """`POST /api/v1/inference/{taskId}/predict` (and without `/api/v1`) goes to a ready replica of the task.

    All else goes to `app`: other paths and methods, and a task that has no route or no ready replica; one that is
    expected to have a ready replica shortly is waited for, within the settings' bounds. To the replica
    goes `POST /predict` with the body byte for byte, without query string, credentials and hop-by-hop headers; back
    comes its status, its end-to-end headers but `Set-Cookie`, and its body byte for byte, with the request's id.
    Bodies of any size pass in bounded memory. Failures are problem+json: 502 `replica-lost` or `answer-invalid`,
    504 `deadline-exceeded`, 408 `request-timeout`; where an answer had begun, the client's connection is closed. A
    client that leaves ends its request at the replica.
    """

    def __init__(self, app: App, routes: RouteTable, settings: PredictSettings) -> None:
        self._app = app
        self._routes = routes
        self._connect_timeout = settings.connect_timeout_seconds
        self._deadline = settings.deadline_seconds
        self._watch = Watch(self._deadline)
        self._holding = Holding(settings.hold_seconds, settings.held_requests)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        route = self._route(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        came = monotonic()
        route.traffic.come(came)
        try:
            if not route.ready and route.spec.expected and self._holding.has_room(route):
                if not route.traffic.held:
                    self._routes.when_wanted()
                held = Held(receive)
                receive = held.receive
                await self._holding.wait(route, held)
            if route.ready:
                await self._carry(route, scope, receive, send, came)
            else:
                await self._app(scope, receive, send)
        finally:
            route.traffic.leave(came, monotonic())

    async def _carry(self, route: Route, scope: Message, receive: Receive, send: Send, came: float) -> None:
        exchange = Exchange(route, scope, receive, send, self._connect_timeout)
        self._watch.begin(exchange)
        failure = None
        try:
            await exchange.run()
        except (ReplicaLost, AnswerInvalid, asyncio.CancelledError) as error:
            failure = self._failure(exchange, error)
        except ClientLeft:
            pass
        finally:
            self._watch.end(exchange)
            route.traffic.count(failure.status if failure else exchange.status, monotonic() - came)
        if failure is not None and not exchange.answered:
            await _send_problem(failure, exchange, scope["path"], send)

    def _route(self, scope: Message) -> Route | None:
        """The route for this request, if it is a prediction."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return self._routes.find(_path(scope))

    def _failure(self, exchange: Exchange, error: BaseException) -> Failure | None:
        """What to tell the client; nothing if it left. Raises the error again if it is a cancellation from outside."""
        cause = str(error)
        if isinstance(error, asyncio.CancelledError):
            if not exchange.interrupted():
                raise error
            if exchange.interruption is Interruption.CLIENT_LEFT:
                return None
            failure = BODY_TOO_SLOW if exchange.awaits_client else DEADLINE_EXCEEDED
            cause = f"waited {self._deadline:g} s"
        else:
            failure = REPLICA_LOST if isinstance(error, ReplicaLost) else ANSWER_INVALID
        request_id = exchange.request_id.decode()
        log.warning("Prediction %s failed at %s: %s (%s)", request_id, exchange.replica, failure.code, cause)
        return failure


def _path(scope: Message) -> str:
    path: str = scope["path"]
    root: str | None = scope.get("root_path")
    return path.removeprefix(root) if root else path


async def _send_problem(failure: Failure, exchange: Exchange, path: str, send: Send) -> None:
    request_id = exchange.request_id
    body = problem(instance=path, request_id=request_id.decode(), **failure._asdict())
    headers = [
        (b"content-type", CONTENT_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]
    await send({"type": "http.response.start", "status": failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
