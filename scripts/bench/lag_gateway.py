"""The gateway as `python -m app` serves it, and beside it a clock on its event loop: how long was the loop away?

`GET /bench/lag` answers the longest pause in milliseconds since it was last asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import uvicorn

from app.bootstrap import build
from app.core.settings import load_settings
from app.logging import configure
from app.main import create_app
from app.proxy.server import HttpProtocol

TICK = 0.005


class LoopClock:
    """ASGI middleware that begins to measure before the application starts up."""

    def __init__(self, app: Any) -> None:
        self._app, self._longest = app, 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._ticking = asyncio.create_task(self._tick())
        if scope["type"] == "http" and scope["path"] == "/bench/lag":
            body, self._longest = json.dumps({"longest_ms": self._longest * 1000}).encode(), 0.0
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)

    async def _tick(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            self._longest = max(self._longest, time.perf_counter() - before - TICK)


def main() -> None:
    settings = load_settings()
    configure(settings.log_format)
    app = LoopClock(create_app(build(settings)))
    uvicorn.run(
        app, host=settings.http.host, port=settings.http.port, loop="uvloop", http=HttpProtocol, log_config=None,
        access_log=False, server_header=False, timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
