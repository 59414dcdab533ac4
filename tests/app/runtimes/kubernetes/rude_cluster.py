"""An API server that is rude: it closes watches at once, forgets versions, fails, and cuts lines in two."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from app.runtimes.kubernetes.client import Client

PATH = "/api/v1/namespaces/n/pods"


def item(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "uid": name, **more}}


class RudeCluster:
    """`items` is what a list gives, at `version`; `watches` are played one after the other, the last for ever."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = 1
        self.page = 2
        self.lists = 0
        self.watched_from: list[str] = []
        self.watches: list[Callable[[web.StreamResponse], Any]] = []
        self.logs: list[bytes] = []  # one answer after the other, the last for ever
        self.fails_with: int | None = None
        self.leave: Callable[[], Awaitable[None]]  # take the server away

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/log"):
            return web.Response(body=self.logs.pop(0) if len(self.logs) > 1 else self.logs[0])
        if self.fails_with:
            status = {"kind": "Status", "reason": "Trouble", "message": "it is broken", "code": self.fails_with}
            return web.json_response(status, status=self.fails_with)
        return await (self._watch(request) if "watch" in request.query else self._list(request))

    async def _list(self, request: web.Request) -> web.Response:
        start = int(request.query.get("continue", "0"))
        self.lists += start == 0
        follow = str(start + self.page) if start + self.page < len(self.items) else ""
        metadata = {"resourceVersion": str(self.version), "continue": follow}
        return web.json_response({"metadata": metadata, "items": self.items[start : start + self.page]})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        play = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        await play(response)
        return response


async def closes(response: web.StreamResponse) -> None:
    """At once."""


async def stays(response: web.StreamResponse) -> None:
    await asyncio.sleep(60)


def tells(*events: dict[str, Any]) -> Callable[[web.StreamResponse], Any]:
    """These, every line in two pieces, and closes."""

    async def play(response: web.StreamResponse) -> None:
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            await response.write(line[:20])
            await response.write(line[20:])

    return play


@asynccontextmanager
async def served(cluster: RudeCluster) -> AsyncIterator[Client]:
    """A client of this cluster."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cluster.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    cluster.leave = runner.cleanup
    client = Client(ApiClient(Configuration(host=f"http://127.0.0.1:{port}")), "n")
    yield client
    await client.close()
    await runner.cleanup()
