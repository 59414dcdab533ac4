"""Logs over HTTP: plain text, or server-sent events whose id is the byte offset behind the event."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, format_sse_event

from app.core import quantities
from app.core.errors import InvalidParameter
from app.services.logs import LogService

_KEEP_ALIVE_POLLS = 75  # of 0.2 s: a comment every 15 s keeps proxies from closing a quiet stream

Tail = Annotated[int | None, Query(ge=0, le=1_000_000, description="only the last lines")]
Since = Annotated[
    str | None,
    Query(max_length=40, description="only what was written after: an RFC 3339 time, or an age such as 90s or 10m"),
]
Follow = Annotated[bool, Query(description="go on as server-sent events until the log can grow no more")]
Replica = Annotated[int, Query(ge=0, le=99, description="which replica's log")]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="resume behind this byte offset")]

LOG_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The log. With follow=true: events of whole lines, id = byte offset behind them, and one event "
        "`end` with the termination.",
        "content": {"text/plain": {}, "text/event-stream": {}},
    }
}


async def log_response(
    logs: LogService, name: str, *, replica: int, tail: int | None, since: str | None, follow: bool,
    last_event_id: str | None, is_over: Callable[[], Awaitable[bool]], end: Callable[[], Awaitable[str]],
) -> Response:  # fmt: skip
    """The log of `name`. `end` gives the JSON of the last event."""
    resume = _offset(last_event_id)
    start = resume if resume is not None else await logs.start(name, replica, tail, _moment(since))
    if not follow:
        return StreamingResponse(logs.read(name, replica, start), media_type="text/plain; charset=utf-8")
    events = _events(logs, name, replica, start, is_over, end)
    return EventSourceResponse(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


async def _events(
    logs: LogService, name: str, replica: int, start: int, is_over: Callable[[], Awaitable[bool]],
    end: Callable[[], Awaitable[str]],
) -> AsyncIterator[bytes]:  # fmt: skip
    offset, quiet = start, 0
    async for lines in logs.follow(name, replica, start, is_over):
        if lines is not None:
            offset, quiet = lines.end, 0
            yield format_sse_event(data_str=lines.text, id=str(offset))
        elif (quiet := quiet + 1) % _KEEP_ALIVE_POLLS == 1:
            yield format_sse_event(comment="waiting")
    yield format_sse_event(data_str=await end(), event="end", id=str(offset))


def _offset(last_event_id: str | None) -> int | None:
    if last_event_id is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", last_event_id):
        raise InvalidParameter("Last-Event-ID", "must be the id of an event of this log.")
    return int(last_event_id)


def _moment(since: str | None) -> datetime | None:
    if since is None:
        return None
    try:
        if re.fullmatch(r"\d+[smhd]?", since):
            return datetime.now(UTC) - quantities.duration(since)
        moment = datetime.fromisoformat(since)
    except (ValueError, OverflowError) as error:
        raise InvalidParameter("since", "must be an RFC 3339 time, or an age such as 90s or 10m.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
