"""Answers whose status code depends on what happened: something new is 202, what existed already is 200."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from app.schemas.wire import Answer


def accepted(answer: Answer, *, is_new: bool, location: str) -> JSONResponse:
    body = answer.model_dump(mode="json", by_alias=True)
    return JSONResponse(body, 202 if is_new else 200, {"Location": location})


def planned(answer: Answer) -> JSONResponse:
    return JSONResponse(answer.model_dump(mode="json", by_alias=True))
