"""Problem documents (RFC 9457): what every failure looks like on the wire."""

from __future__ import annotations

from pydantic import Field

from app.schemas.wire import Answer


class CauseAnswer(Answer):
    pointer: str = Field(description="a JSON pointer (RFC 6901) into the body, or a parameter's name")
    detail: str


class Problem(Answer):
    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = Field(description="the path that was asked")
    code: str = Field(description="stable, for programs", examples=["task-exists"])
    request_id: str = Field(description="the same as the X-Request-ID header; the log knows it")
    retryable: bool = Field(description="whether the very same request may succeed later")
    causes: list[CauseAnswer]
