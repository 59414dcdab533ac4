"""RFC 9457 problem bodies, as bytes, for answers that the proxy gives itself."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import orjson

from app.core.protocols import error_body
from app.proxy.headers import Header

CONTENT_TYPE = b"application/problem+json"


class Failure(NamedTuple):
    """Why the proxy could not bring an answer; `code` is stable and part of the API."""

    status: int
    code: str
    title: str
    detail: str
    retryable: bool


REPLICA_LOST = Failure(
    502,
    "replica-lost",
    "The model server was lost",
    "The deployment's server went away before it had answered. Try again shortly; its log may say why.",
    retryable=True,
)
ANSWER_INVALID = Failure(
    502,
    "answer-invalid",
    "The model server's answer is not valid",
    "The deployment's server sent something that is no HTTP answer. Its log and its image are the places to look.",
    retryable=False,
)
DEADLINE_EXCEEDED = Failure(
    504,
    "deadline-exceeded",
    "The prediction took too long",
    "The deployment's server did not answer in time. Send fewer rows at once, or give the deployment more replicas.",
    retryable=True,
)
BODY_TOO_SLOW = Failure(
    408,
    "request-timeout",
    "The request took too long to arrive",
    "The whole body did not arrive in time. Send it faster, or in smaller requests.",
    retryable=True,
)
OVERLOADED = Failure(
    503,
    "overloaded",
    "The deployment has more to do than it can",
    "It could not have answered in time, so it was not asked. Try again later, or give it more replicas.",
    retryable=True,
)
BAD_REQUEST = Failure(
    400,
    "bad-request",
    "The request is not valid HTTP",
    "What arrived cannot be read as HTTP/1.1, so the connection was closed.",
    retryable=False,
)
HEAD_TOO_LARGE = Failure(
    431,
    "head-too-large",
    "The request's headers are too large",
    "The request line and the headers together may have 64 KiB.",
    retryable=False,
)


def header_invalid(detail: str) -> Failure:
    return Failure(400, "header-invalid", "A header of the request is not valid", detail, retryable=False)


def answer_of(
    failure: Failure, request_id: bytes, path: str, retry_after: float | None = None
) -> tuple[list[Header], bytes]:
    """Headers and body that tell a client, in its protocol's words; `retry_after` in seconds, from 1 up."""
    own = error_body(path, failure.status, failure.code, failure.detail)
    body = own or problem(instance=path, request_id=request_id.decode(), **failure._asdict())
    headers = [
        (b"content-type", b"application/json" if own else CONTENT_TYPE),
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", request_id),
    ]
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(retry_after))))
    if failure is BODY_TOO_SLOW:
        headers.append((b"connection", b"close"))  # the rest of it is no request
    return headers, body


def problem(
    *, status: int, code: str, title: str, detail: str, instance: str, request_id: str, retryable: bool
) -> bytes:
    """One problem as JSON. `instance` is the path that was asked for; `retryable`: the same request may succeed."""
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "instance": instance,
            "code": code,
            "requestId": request_id,
            "retryable": retryable,
            "causes": [],
        }
    )
