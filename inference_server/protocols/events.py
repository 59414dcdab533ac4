"""Text that is written, as server-sent events: a `data` for each piece, then `done` with the whole answer.

    data: {"index": 0, "text": "Once"}

    event: done
    data: {"predictions": ["Once upon a time"]}

Where it cannot go on, the last event is `error`, with the problem.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import orjson

from inference_server.families.base import Piece
from inference_server.problems import Problem

TYPE = "text/event-stream"
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # which nginx, too, would gather

Pieces = AsyncIterator[Sequence[Piece]]


def event(content: object, name: str = "") -> bytes:
    """One event. JSON has no line breaks, so it needs no more than one line of data."""
    head = f"event: {name}\n".encode() if name else b""
    return b"%bdata: %b\n\n" % (head, orjson.dumps(content))


def wants_events(accept: str) -> bool:
    """Whether a request's `Accept` names events before all else."""
    return accept.partition(",")[0].partition(";")[0].strip().lower() == TYPE


async def written(pieces: Pieces, rows: int, request_id: str) -> AsyncIterator[bytes]:
    """The events of a prediction of so many rows."""
    texts = [""] * rows
    try:
        async for step in pieces:
            for piece in step:
                if piece.text:
                    texts[piece.row] += piece.text
                    yield event({"index": piece.row, "text": piece.text})
    except Problem as problem:
        yield event(problem.content(request_id), "error")
        return
    yield event({"predictions": texts}, "done")
