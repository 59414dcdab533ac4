"""The proxy under a real uvicorn, in front of an app that says what fell through, and clients to call it with."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn
from prometheus_client import CollectorRegistry

from app.core.addresses import Address
from app.core.routing import Backend, Load, RouteSpec
from app.core.settings import PredictSettings
from app.proxy.asgi import PredictProxy
from app.proxy.metrics import Metrics
from app.proxy.routes import Route, RouteTable
from app.proxy.server import HttpProtocol
from tests.app.proxy.upstreams import Upstream

PATH = "/api/v1/inference/iris/predict"


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        assert len(found) <= 1, f"{name} came {len(found)} times"
        return found[0] if found else None

    @property
    def problem(self) -> dict[str, Any]:
        assert self.header("content-type") == "application/problem+json"
        problem: dict[str, Any] = orjson.loads(self.body)
        return problem


async def fell_through(scope: Any, receive: Any, send: Any) -> None:
    body = f"{scope['method']} {scope['path']} fell through".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def to(*addresses: tuple[Any, ...], **spec: Any) -> RouteSpec:
    """A route to these replicas, all of one version."""
    return RouteSpec((Backend(tuple(Address(*address) for address in addresses)),), **spec)


class Gateway:
    def __init__(self, settings: PredictSettings) -> None:
        self.registry = CollectorRegistry()
        self.routes = RouteTable(Metrics(self.registry))
        self.app = PredictProxy(fell_through, self.routes, settings)
        self.port = 0
        self.connections: set[Any] = set()  # open ones of clients

    @property
    def load(self) -> Load:
        return self.routes.loads()["iris"]

    def route(self, *upstreams: Upstream | tuple[str, int]) -> Route:
        """Let these be the replicas of the task `iris`."""
        addresses = [up.address if isinstance(up, Upstream) else up for up in upstreams]
        self.routes.update({"iris": to(*addresses)})
        route = self.routes.get("iris")
        assert route is not None
        return route

    def counted(self, code: int, task: str = "iris") -> float | None:
        return self.registry.get_sample_value("inference_requests_total", {"task": task, "code": str(code)})

    async def post(
        self,
        body: bytes | Iterable[bytes] = b"{}",
        headers: Mapping[str, str] | None = None,
        path: str = PATH,
        method: str = "POST",
    ) -> Reply:
        """One request over a connection of its own. Raises `http.client.IncompleteRead` for an answer cut short."""
        return await asyncio.to_thread(self._request, method, path, body, headers or {})

    def _request(self, method: str, path: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, dict(headers), encode_chunked=not isinstance(body, bytes))
            reply = connection.getresponse()
            return Reply(reply.status, reply.getheaders(), reply.read())
        finally:
            connection.close()

    async def crowd(self, count: int, *headers: bytes) -> list[Reply]:
        """So many requests really at once."""
        return list(await asyncio.gather(*(self._one_of_many(*headers) for _ in range(count))))

    async def _one_of_many(self, *headers: bytes) -> Reply:
        reader, writer = await self.dial()
        writer.write(request_bytes(b"x", *headers))
        reply = await one_reply(reader)
        writer.close()
        return reply

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection, for clients that misbehave."""
        return await asyncio.open_connection("127.0.0.1", self.port)


async def one_reply(reader: asyncio.StreamReader) -> Reply:
    """The next answer on this connection, which states its length."""
    async with asyncio.timeout(20):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        pairs = [line.partition(": ") for line in lines]
        reply = Reply(int(first.split()[1]), [(name, value) for name, _, value in pairs], b"")
        reply.body = await reader.readexactly(int(reply.header("content-length") or 0))
    return reply


def request_bytes(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"POST %b HTTP/1.1" % PATH.encode(), b"Host: x", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % (len(body) if length is None else length), b"", body])


@asynccontextmanager
async def gateway(
    *upstreams: Upstream | tuple[str, int],
    deadline: float = 20,
    connect_timeout: float = 2,
    keep_alive: float = 5,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway that routes the task `iris` to these upstreams."""
    it = Gateway(PredictSettings(deadline_seconds=deadline, connect_timeout_seconds=connect_timeout, **settings))
    it.route(*upstreams)
    config = uvicorn.Config(
        it.app, http=HttpProtocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
        timeout_keep_alive=keep_alive,  # type: ignore[arg-type]  # whole seconds are long for a test
    )  # fmt: skip
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        it.port = listener.getsockname()[1]
        it.connections = server.server_state.connections
        await server.startup(sockets=[listener])  # not serve() and shutdown(): those sleep
        try:
            yield it
        finally:
            it.routes.update({})
            for serving in server.servers:
                serving.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await until(lambda: not server.server_state.tasks and not server.server_state.connections)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition, at most this long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.005)


async def stands_still(count: Callable[[], int], seconds: float = 20) -> None:
    """Wait until a count that has begun to grow does so no more."""
    await until(lambda: count() > 0)
    before = 0
    async with asyncio.timeout(seconds):
        while before != count():
            before = count()
            await asyncio.sleep(0.3)
