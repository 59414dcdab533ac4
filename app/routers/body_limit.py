"""A limit on bodies that the API reads, refused as a problem document.

FastAPI's own limit answers in plain text, and also where a body is never read.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware. Reading past `limit` bytes raises 413 in the reader, with what was read so far dropped.

    Of predictions, which come here only if they are to be answered later, `prediction_limit` bytes may be read.
    """

    def __init__(self, app: ASGIApp, limit: int, prediction_limit: int) -> None:
        self._app = app
        self._limit = limit
        self._prediction_limit = prediction_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read, limit = 0, self._limit
        if scope["type"] == "http" and scope["path"].endswith("/predict"):
            limit = self._prediction_limit

        async def receive_within_limit() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes.")
            return message

        await self._app(scope, receive_within_limit if scope["type"] == "http" else receive, send)
