"""Problems: the errors of this server on the wire (RFC 9457), each with a stable code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import ClassVar

from inference_server.families.base import InputUnreadable

log = logging.getLogger(__name__)


class Problem(Exception):  # noqa: N818
    """An answer that is an error. `detail` is for the caller; `pointer` says where in the body (RFC 6901)."""

    status: ClassVar[int] = 500
    code: ClassVar[str]
    title: ClassVar[str]
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer

    def content(self, request_id: str) -> dict[str, object]:
        causes = [] if self.pointer is None else [{"pointer": self.pointer, "detail": self.detail}]
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "requestId": request_id,
            "retryable": self.status == 503,
            "causes": causes,
        }


class RequestUnreadable(Problem):
    status = 400
    code = "request-unreadable"
    title = "This is no HTTP request that is understood here"


class RequestTooSlow(Problem):
    status = 408
    code = "request-too-slow"
    title = "The request did not arrive in time"


class HeadTooLarge(Problem):
    status = 431
    code = "head-too-large"
    title = "The request's headers are too large"


class MediaTypeUnknown(Problem):
    status = 415
    code = "media-type-unknown"
    title = "Bodies of this kind are not read here"
    headers = {"accept": "application/json", "accept-encoding": "identity"}


class BodyUnreadable(Problem):
    status = 422
    code = "body-unreadable"
    title = "The request body cannot be read"


class InputRefused(Problem):
    status = 422
    code = "input-unreadable"
    title = "The model cannot read this input"

    @classmethod
    def of(cls, error: InputUnreadable) -> InputRefused:
        return cls(error.sentence, error.pointer)


class BodyTooLarge(Problem):
    status = 413
    code = "body-too-large"
    title = "The request body is too large"


class NotFound(Problem):
    status = 404
    code = "not-found"
    title = "There is nothing at this path"


class ModelUnknown(Problem):
    status = 404
    code = "model-unknown"
    title = "Another model is served here"


class MethodNotAllowed(Problem):
    status = 405
    code = "method-not-allowed"
    title = "This path does not answer this method"

    def __init__(self, path: str, allowed: str) -> None:
        super().__init__(f"{path} answers {allowed} only.")
        self.headers = {"allow": allowed}


class NotReady(Problem):
    status = 503
    code = "not-ready"
    title = "The model is not ready"
    headers = {"retry-after": "1"}


class TooBusy(Problem):
    status = 503
    code = "too-busy"
    title = "Too many requests wait already"
    headers = {"retry-after": "1"}


class ModelFailed(Problem):
    code = "model-failed"
    title = "The model failed on this input"


class DeadlinePassed(Problem):
    status = 504
    code = "deadline-passed"
    title = "The request's deadline has passed"


def problem_of(error: BaseException) -> Problem:
    """What is answered for this error; what a model raises is for the log only."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InputUnreadable):
        return InputRefused.of(error)
    log.error("The model failed on a request.", exc_info=error)
    return ModelFailed("The model failed on this input; the server's log says why.")
