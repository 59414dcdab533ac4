"""Every answer carries the id of its request: the caller's own X-Request-ID, or a new one."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.proxy.headers import request_id


class RequestId:
    """ASGI middleware. The id stands in `scope["request_id"]` for logs and problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        accepted = request_id(offered)
        scope["request_id"] = accepted.decode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", accepted)]
            await send(message)

        await self._app(scope, receive, send_with_id)
