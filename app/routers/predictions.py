"""Predictions over HTTP: those to be answered later, their results, and those for which there is no ready replica."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core.predictions import Outcome, Prediction, Question
from app.core.preferences import preferences
from app.dependencies import CurrentPlatform, Predictions
from app.routers.carried import Carried
from app.routers.parameters import KnownOnly
from app.schemas.predictions import PendingAnswer
from app.services.predictions import lasting

router = APIRouter(prefix="/inference", tags=["inference"], dependencies=[KnownOnly])

LONGEST_RETRY_AFTER = 30  # seconds
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "userId": {"type": "string"},
                        "data": {"type": "object", "description": "what the model's family reads"},
                    },
                    "required": ["data"],
                },
                "example": {"userId": "user-1234", "data": {"features": [[5.1, 3.5, 1.4, 0.2]]}},
            }
        },
    }
}
_PENDING = {"model": PendingAnswer, "description": "No answer yet; Location and Retry-After say where and when"}
_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"description": "the model's answer"}, 202: _PENDING}
Prefer = Annotated[
    list[str] | None,
    Header(description="`respond-async` answers later (RFC 7240); with `wait=N` only if it takes more than N seconds"),
]
IdempotencyKey = Annotated[
    list[str] | None,
    Header(description="with `respond-async`: the same key and body are one prediction, however often they are sent"),
]
# A result is the model's words under our name: a browser must not run it, and nobody may keep it for us.
_GUARDS = {"cache-control": "no-store", "x-content-type-options": "nosniff", "content-security-policy": "sandbox"}


@router.post("/{taskId}/predict", openapi_extra=_BODY, response_class=Response, responses=_ANSWERS)
async def predict(
    taskId: str,  # noqa: N803
    request: Request,
    predictions: Predictions,
    platform: CurrentPlatform,
    prefer: Prefer = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask a deployed model. The body goes to its server and the answer comes back, byte for byte.

    With `Prefer: respond-async` the prediction is kept and carried out whatever becomes of this connection: while the
    deployment wakes or has no ready replica it waits, and what may pass is tried again until its deadline.
    """
    wish = preferences(prefer or ())
    if not wish.respond_async:
        await predictions.explain(taskId)
        return Carried()
    settings = platform.settings
    body = await _body(request, settings.predict.deadline_seconds)
    question = Question(lasting(tuple(request.headers.raw)), body, request.scope["request_id"])
    wait = None if wish.wait is None else min(wish.wait, settings.deferred.longest_wait_seconds)
    key = None if idempotency_key is None else idempotency_key[0] if len(idempotency_key) == 1 else ""
    timeout = request.headers.get("x-request-timeout")
    found, is_new = await predictions.submit(taskId, question, wait=wait or 0, timeout=timeout, key=key)
    path = request.url.path.removesuffix(f"/{taskId}/predict")
    response = _answer(found, predictions.expected(found), f"{path}/result/{found.id}")
    if not is_new:
        response.headers["idempotent-replayed"] = "true"
    response.headers["preference-applied"] = "respond-async" if wait is None else f"respond-async, wait={wait}"
    return response


@router.get("/result/{id}", response_class=Response, responses=_ANSWERS)
async def get_result(id: str, request: Request, predictions: Predictions) -> Response:
    """What a prediction with `Prefer: respond-async` came to; the same each time, until it expires (410).

    A failure is a result too, with its own status: the model's refusal, or a problem document that says why there is
    no answer. `Prediction-Status: Done` tells it from an answer about this very request.
    """
    found = await predictions.result(id)
    return _answer(found, predictions.expected(found), request.url.path)


def _answer(found: Prediction, expected: float | None, location: str) -> Response:
    response = _result(found.outcome) if found.outcome else _pending(found, expected)
    response.headers["prediction-status"] = "Done" if found.outcome else "Pending"
    response.headers["content-location" if found.outcome else "location"] = location
    response.headers.update(_GUARDS)
    return response


def _result(outcome: Outcome) -> Response:
    response = Response(outcome.body, outcome.status)
    response.raw_headers.extend(outcome.headers)
    return response


def _pending(found: Prediction, expected: float | None) -> Response:
    body = PendingAnswer.of(found, expected).model_dump(mode="json", by_alias=True)
    retry_after = min(math.ceil(expected or 1), LONGEST_RETRY_AFTER)
    return JSONResponse(body, 202, {"Retry-After": str(max(1, retry_after))})


async def _body(request: Request, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await request.body()
    except TimeoutError:
        detail = "The whole body did not arrive in time. Send it faster, or in smaller requests."
        raise HTTPException(408, detail) from None
    except ClientDisconnect:
        raise HTTPException(400, "The client left before its request was complete.") from None
