"""The predict path: a plain ASGI app in front of the gateway's own, which passes predictions through to replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from time import monotonic

from app.core.preferences import asks_async
from app.core.protocols import PREDICT, carried
from app.core.settings import PredictSettings
from app.proxy.client import AnswerInvalid, ReplicaLost
from app.proxy.exchange import ClientLeft, Exchange
from app.proxy.headers import Header, HeadRefused, RequestHead, request_head, request_id
from app.proxy.holding import Holding
from app.proxy.problem import (
    ANSWER_INVALID,
    BODY_TOO_SLOW,
    DEADLINE_EXCEEDED,
    OVERLOADED,
    REPLICA_LOST,
    Failure,
    answer_of,
    header_invalid,
)
from app.proxy.routes import Route, RouteTable
from app.proxy.server import TURN, Scope, Turn
from app.proxy.watch import Interruption, Receive, Send, Watch

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_TARGET = "modelyard.target"  # in a scope: what a replica is asked, if it is not predict
_TELL_NOTHING = (408, 429, 499, 502, 503)  # of how long an answer takes

log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818
    """The proxy answers this request itself; `retry_after` is in seconds."""

    def __init__(self, failure: Failure, request_id: bytes, retry_after: float | None = None) -> None:
        super().__init__(failure.code)
        self.failure, self._request_id, self._retry_after = failure, request_id, retry_after

    def answer(self, path: str) -> tuple[list[Header], bytes]:
        return answer_of(self.failure, self._request_id, path, self._retry_after)


class PredictProxy:
    """`POST /api/v1/inference/{taskId}/predict` (and without `/api/v1`) goes to a ready replica of the task.

    All else goes to `app`: other paths and methods, what prefers to be answered later (`Prefer: respond-async`), and a
    task that has no route or no ready replica; one that is expected to have a ready replica shortly is waited for,
    within the settings' bounds. To the replica goes `POST /predict` with the body byte for byte, without query string,
    credentials and hop-by-hop headers; back comes its status, its end-to-end headers but `Set-Cookie`, and its body
    byte for byte, with the request's id. So do the paths of its other protocols (`app.core.protocols`), as they are and
    with their query, and nothing else that the server may answer. Bodies of any size pass in bounded memory.
    `traceparent` passes as it is, and none is made.

    The settings' deadline counts from when a replica was there, the client's own `X-Request-Timeout` (seconds) from the
    request's arrival; the earlier one goes to the replica, as a moment and as what is left of it. A request that could
    not be answered until then, by what is known of the deployment's pace, is refused at once.

    Failures are problem+json: 502 `replica-lost` or `answer-invalid`, 503 `overloaded` with `Retry-After`, 504
    `deadline-exceeded`, 408 `request-timeout`, 400 `header-invalid`; where an answer had begun, the client's connection
    is closed. A client that leaves ends its request at the replica.
    """

    def __init__(self, app: App, routes: RouteTable, settings: PredictSettings) -> None:
        self._app = app
        self._routes = routes
        self._connect_timeout = settings.connect_timeout_seconds
        self._deadline = settings.deadline_seconds
        self._most = settings.in_flight_per_replica
        self._watch = Watch()
        self._holding = Holding(settings.hold_seconds, settings.held_requests)

    def at_once(self, scope: Scope, turn: Turn) -> bool:
        """Begin with a complete request for a replica that is ready; see `AnswersAtOnce`."""
        route = self._route(scope)
        if route is None or not route.ready:
            return False
        route.traffic.arrivals += 1
        try:
            exchange = self._open(route, scope, turn, monotonic())
        except Refused as refused:
            _tell(refused, turn)
            return True
        if not exchange.start(bytes(turn.body), self._settle):
            turn.begin(partial(self._run, exchange))
        return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._route(scope)
        if route is None:
            await self._app(scope, receive, send)
            return
        came = monotonic()
        turn: Turn | None = scope.get("extensions", {}).get(TURN)
        route.traffic.arrivals += 1
        try:
            if not (route.ready or await self._is_ready(route, scope, turn, came)):
                await self._app(scope, receive, send)
                return
            exchange = self._open(route, scope, turn, came)
        except Refused as refused:
            await _send(refused, scope, receive, send)
        else:
            await self._run(exchange, scope, receive, send)

    def _route(self, scope: Scope) -> Route | None:
        """The route for this request, if it is for a replica. Other requests than predict say in `scope` which."""
        if scope["type"] != "http":
            return None
        path: str = scope["path"]
        if root := scope.get("root_path"):
            path = path.removeprefix(root)
        if scope["method"] == "POST" and (route := self._routes.find(path)) is not None:
            return None if asks_async(scope["headers"]) else route
        if (found := carried(scope["method"], path)) is None:
            return None
        scope[_TARGET] = found.with_query(scope["query_string"])
        return self._routes.get(found.task_id)

    async def _is_ready(self, route: Route, scope: Scope, turn: Turn | None, came: float) -> bool:
        """Whether a replica is, after a while if one is expected. Raises `Refused`."""
        if not route.spec.expected:
            return False
        head = _head(scope, route)
        if self._holding.is_full(route):
            route.traffic.refuse(OVERLOADED.status)
            raise Refused(OVERLOADED, head.request_id, route.spec.expected_in)
        if not route.traffic.held:
            self._routes.when_wanted()
        return await self._holding.wait(route, turn, inf if head.timeout is None else came + head.timeout - monotonic())

    def _open(self, route: Route, scope: Scope, turn: Turn | None, came: float) -> Exchange:
        """An exchange that is watched and counted, to be closed. Raises `Refused`."""
        target = scope.get(_TARGET, PREDICT)
        exchange = Exchange(route, _head(scope, route), turn, came, self._deadline, target)
        ahead, left = route.traffic.in_flight + 1, exchange.due - exchange.began
        wait = route.pace.wait(ahead, route.size)
        if wait > left or ahead > self._most * route.size:
            route.traffic.refuse(OVERLOADED.status)
            raise Refused(OVERLOADED, exchange.request_id, wait - left)
        exchange.ahead = ahead
        route.traffic.enter(exchange.began)
        self._watch.begin(exchange)
        if turn is not None:
            turn.on_left = exchange.leave
        return exchange

    def _close(self, exchange: Exchange, failure: Failure | None) -> None:
        now = monotonic()
        route = exchange.route
        self._watch.end(exchange)
        if exchange.turn is not None:
            exchange.turn.on_left = None
        code = failure.status if failure else exchange.status
        route.traffic.leave(exchange.began, now)
        route.traffic.count(code, now - exchange.came)
        if exchange.sent and code not in _TELL_NOTHING:
            seconds = (exchange.replied or now) - exchange.sent
            route.pace.learn(seconds, exchange.ahead, route.size, answered=failure is None)

    def _settle(self, exchange: Exchange) -> None:
        """What was sent without a task is answered or lost, or was interrupted."""
        turn = exchange.turn
        assert turn is not None
        if exchange.interruption is None:
            if exchange.finish():
                self._close(exchange, None)
            else:
                turn.begin(partial(self._run, exchange))
            return
        failure = self._interrupted(exchange)
        self._close(exchange, failure)
        if failure is not None:
            _tell(Refused(failure, exchange.request_id), turn)

    async def _run(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        exchange.task = asyncio.current_task()
        if exchange.interruption is not None and exchange.task is not None:
            exchange.task.cancel()
        failure = None
        try:
            await exchange.run(receive, send, self._connect_timeout)
        except ReplicaLost as error:
            failure = _logged(exchange, REPLICA_LOST, str(error))
        except AnswerInvalid as error:
            failure = _logged(exchange, ANSWER_INVALID, str(error))
        except asyncio.CancelledError:
            if not exchange.interrupted():
                raise
            failure = self._interrupted(exchange)
        except ClientLeft:
            pass
        finally:
            self._close(exchange, failure)
        if failure is not None and not exchange.answered:
            await _send(Refused(failure, exchange.request_id), scope, receive, send)

    def _interrupted(self, exchange: Exchange) -> Failure | None:
        """What to tell the client; nothing if it left."""
        if exchange.interruption is Interruption.CLIENT_LEFT:
            return None
        failure = BODY_TOO_SLOW if exchange.awaits_client else DEADLINE_EXCEEDED
        return _logged(exchange, failure, f"waited {monotonic() - exchange.began:.3g} s")


def _head(scope: Scope, route: Route) -> RequestHead:
    try:
        return request_head(scope["headers"], route.sticky_header)
    except HeadRefused as error:
        raise Refused(header_invalid(str(error)), request_id(None)) from None


def _logged(exchange: Exchange, failure: Failure, cause: str) -> Failure:
    request_id = exchange.request_id.decode()
    log.warning("Prediction %s failed at %s: %s (%s)", request_id, exchange.replica, failure.code, cause)
    return failure


def _tell(refused: Refused, turn: Turn) -> None:
    if turn.is_free:
        turn.answer(refused.failure.status, *refused.answer(turn.scope["path"]))
    else:
        turn.begin(partial(_send, refused))


async def _send(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    headers, body = refused.answer(scope["path"])
    await send({"type": "http.response.start", "status": refused.failure.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
