"""RFC 9457 problem bodies, as bytes, for answers that the proxy gives itself."""

from __future__ import annotations

from typing import NamedTuple

import orjson

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
