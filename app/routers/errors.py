"""The one table from error class to HTTP status, and the problem documents (RFC 9457) that callers see."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.core import errors, prediction_errors
from app.core.errors import Cause, Outage, Refusal
from app.core.names import PATTERNS
from app.core.protocols import error_body
from app.schemas.problem import CauseAnswer, Problem

log = structlog.get_logger(__name__)

STATUS: dict[type[Refusal], int] = {
    errors.InvalidParameter: 422,
    errors.InvalidRequest: 422,
    errors.FrameworkMissing: 422,
    errors.NeverFits: 422,
    errors.BelowFacts: 422,
    errors.JobNotFound: 404,
    errors.DeploymentNotFound: 404,
    errors.LogNotFound: 404,
    errors.TaskExists: 409,
    errors.ModelIdTaken: 409,
    errors.BeingDeleted: 409,
    errors.DeploymentNotReady: 503,
    prediction_errors.PredictionNotFound: 404,
    prediction_errors.PredictionExpired: 410,
    prediction_errors.PlatformFull: 503,
    prediction_errors.TooManyPending: 429,
    prediction_errors.TimeoutInvalid: 400,
    prediction_errors.IdempotencyKeyInvalid: 422,
    prediction_errors.IdempotencyKeyReused: 422,
}
_MEDIA_TYPE = "application/problem+json"
_DOCUMENTED = {
    "description": "A problem document",
    "content": {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Problem} | _DOCUMENTED,
    422: _DOCUMENTED,
    "5XX": _DOCUMENTED,
}
_OUTAGE_RETRY_AFTER = "5"
_HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


def install(app: FastAPI) -> None:
    """Make every failure of `app` a problem document."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(Outage, _outage)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _surprise)


def problem(
    request: Request, status: int, code: str, title: str, detail: str, *, causes: Sequence[Cause] = (),
    retry_after: str | None = None, retryable: bool | None = None,
) -> Response:  # fmt: skip
    """A problem document, or on the paths of the models' protocols an error of theirs.

    `retryable`: the very same request may succeed later; unless said, its status tells.
    """
    body = Problem(
        title=title,
        status=status,
        detail=detail,
        instance=request.url.path,
        code=code,
        request_id=request.scope.get("request_id", ""),
        retryable=status in (429, 502, 503, 504) if retryable is None else retryable,
        causes=[CauseAnswer(pointer=cause.pointer, detail=cause.detail) for cause in causes],
    )
    headers = {"Retry-After": retry_after} if retry_after else None
    if own := error_body(request.url.path, status, code, detail):
        return Response(own, status, headers, media_type="application/json")
    text = json.dumps(body.model_dump(by_alias=True))  # all ASCII: what a caller sent may be no valid text
    return Response(text, status, headers, media_type=_MEDIA_TYPE)


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    status = next(STATUS[class_] for class_ in type(error).__mro__ if class_ in STATUS)
    return problem(
        request,
        status,
        error.code,
        error.title,
        error.detail,
        causes=error.causes,
        retry_after=None if error.retry_after is None else str(error.retry_after),
        retryable=error.may_recover,
    )


async def _outage(request: Request, error: Exception) -> Response:
    assert isinstance(error, Outage)
    log.error("outage", code=error.code, cause=str(error), path=request.url.path)
    title = HTTPStatus.SERVICE_UNAVAILABLE.phrase
    return problem(request, 503, error.code, title, error.public, retry_after=_OUTAGE_RETRY_AFTER)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    causes = [_cause(found) for found in error.errors()]
    in_body = any(found["loc"][:1] == ("body",) for found in error.errors())
    code, title = (errors.InvalidRequest if in_body else errors.InvalidParameter).code, "The request is not valid"
    detail = "; ".join(f"{cause.pointer or 'the body'}: {cause.detail}" for cause in causes)
    if in_body and "json" not in request.headers.get("content-type", ""):
        detail = "The body was not read as JSON: send it with Content-Type: application/json."
    return problem(request, 422, code, title, detail, causes=causes)


def _cause(found: Mapping[str, Any]) -> Cause:
    """Body fields as JSON pointers; a query parameter, path parameter or header as its name."""
    place, *parts = found["loc"]
    if place != "body":
        return Cause("/".join(str(part) for part in parts), _sentence(found))
    if found["type"] == "json_invalid":
        return Cause("", f"is not JSON: {found['ctx']['error']} at character {parts[0] if parts else 0}")
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return Cause("".join(f"/{part}" for part in escaped), _sentence(found))


def _sentence(found: Mapping[str, Any]) -> str:
    match found["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "there is no such field"
        case "string_pattern_mismatch" if found["ctx"]["pattern"] in PATTERNS:
            return PATTERNS[found["ctx"]["pattern"]]
    return str(found["msg"]).removeprefix("Value error, ")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase
    code = _HTTP_CODES.get(error.status_code, phrase.lower().replace(" ", "-"))
    detail = error.detail if error.detail != phrase else f"{request.method} {request.url.path}: {phrase.lower()}."
    response = problem(request, error.status_code, code, phrase, detail)
    response.headers.update(error.headers or {})
    return response


async def _surprise(request: Request, error: Exception) -> Response:
    """Ours to mend: the log has the traceback under the request id, the caller a neutral sentence."""
    log.exception("surprise", path=request.url.path, request_id=request.scope.get("request_id"), exc_info=error)
    detail = "Something went wrong on our side. The log has it under this request id."
    return problem(request, 500, "internal-error", HTTPStatus.INTERNAL_SERVER_ERROR.phrase, detail)
