"""Limits on bodies that the API reads, in size and in time, refused as problem documents.

FastAPI's own limit answers in plain text, and also where a body is never read.
"""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """ASGI middleware. Reading past `limit` bytes raises 413 in the reader, with what was read so far dropped; 408 is
    raised if the body has not arrived `seconds` after the request.

    Of predictions, which come here only if they are to be answered later, `prediction_limit` bytes may be read.
    """

    def __init__(self, app: ASGIApp, limit: int, prediction_limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._prediction_limit = prediction_limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read, over, limit = 0, False, self._limit
        if scope["type"] == "http" and scope["path"].endswith("/predict"):
            limit = self._prediction_limit
        due = asyncio.get_running_loop().time() + self._seconds

        async def receive_within_limits() -> Message:
            nonlocal read, over
            try:
                async with asyncio.timeout_at(None if over else due):
                    message = await receive()
            except TimeoutError:
                late = f"The body did not arrive within {self._seconds:g} s."
                raise HTTPException(408, late, headers={"Connection": "close"}) from None
            over = not message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, f"The body is larger than {limit} bytes.")
            return message

        await self._app(scope, receive_within_limits if scope["type"] == "http" else receive, send)
