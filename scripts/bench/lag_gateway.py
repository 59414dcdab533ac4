"""The gateway as `python -m app` serves it, and beside it a clock on its event loop: how long was the loop away?

`GET /bench/lag` answers, since it was last asked, the longest pause and the most CPU time that the loop's thread spent
between two ticks, in milliseconds: a busy machine lengthens the first, only the gateway's own work the second. And how
many seconds the start-up took, which ends when the cluster's first list is there.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from app.__main__ import serve
from app.bootstrap import build
from app.core.settings import load_settings
from app.logging import configure
from app.main import create_app

TICK = 0.005


class LoopClock:
    """ASGI middleware that begins to measure before the application starts up."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._pause = self._work = self._start = 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            self._ticking = asyncio.create_task(self._tick())
            send = self._timed(send)
        if scope["type"] == "http" and scope["path"] == "/bench/lag":
            answer = {
                "pause_ms": self._pause * 1000,
                "work_ms": self._work * 1000,
                "start_s": self._start,
            }
            self._pause = self._work = 0.0
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
            return
        await self._app(scope, receive, send)

    def _timed(self, send: Any) -> Any:
        began = time.perf_counter()

        async def timed(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._start = time.perf_counter() - began
            await send(message)

        return timed

    async def _tick(self) -> None:
        while True:
            clock, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK)
            self._pause = max(self._pause, time.perf_counter() - clock - TICK)
            self._work = max(self._work, time.thread_time() - cpu)


def main() -> None:
    settings = load_settings()
    configure(settings.log_format)
    serve(LoopClock(create_app(build(settings))), settings.http)
