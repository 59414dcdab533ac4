"""The cluster's API, spoken plainly for a benchmark: a namespace of its own; Jobs created and counted."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeVar

import aiohttp
import orjson
from aiohttp import web

JSON = {"Content-Type": "application/json"}
_TYPES = {"PATCH": {"Content-Type": "application/merge-patch+json"}}
Item = TypeVar("Item")


async def each(items: Iterable[Item], act: Callable[[Item], Awaitable[object]], at_once: int) -> None:
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await act(item)

    await asyncio.gather(*(worker() for _ in range(at_once)))


class Api:
    """Raw JSON through aiohttp, with the client certificate of a kubeconfig: as little as a client can be."""

    def __init__(self, session: aiohttp.ClientSession, server: str, namespace: str) -> None:
        self._session, self.server, self.namespace = session, server, namespace
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        self.servers = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.counted: Counter[str] = Counter()

    @classmethod
    @asynccontextmanager
    async def connect(cls, config: dict[str, Any], namespace: str) -> AsyncIterator[Self]:
        """`config` is what a kubeconfig holds; its first cluster and user count."""
        connector = aiohttp.TCPConnector(ssl=_tls(config), limit=64)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            yield cls(session, config["clusters"][0]["cluster"]["server"], namespace)

    async def send(self, method: str, path: str, body: object = None) -> Any:
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        async with self._session.request(
            method, self.server + path, data=data, headers=_TYPES.get(method, JSON)
        ) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path} answered {answer.status}: {content[:300].decode()}")
            return orjson.loads(content)

    async def count(self) -> int:
        """All Jobs of the namespace, without reading them."""
        page = await self.send("GET", f"{self.jobs}?limit=1")
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    async def create(self, bodies: Sequence[bytes], at_once: int) -> None:
        await each(bodies, lambda body: self.send("POST", self.jobs, body), at_once)

    async def is_available(self, server: str) -> bool:
        found = await self.send("GET", f"{self.servers}/{server}")
        return bool(found["status"].get("readyReplicas", 0))

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """A request of a client that is to be counted; answers are passed as they come, watches without end."""
        kind = "watch" if "watch" in request.query else request.method
        self.counted[f"{kind} {request.path.rsplit('/', 1)[1]}"] += 1
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        headers |= {name: value for name, value in request.headers.items() if name in headers}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.request(
            request.method, self.server + request.path_qs, data=await request.read(), headers=headers, timeout=timeout
        ) as answer:
            encoding = {name: value for name, value in answer.headers.items() if name == "Content-Encoding"}
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json", **encoding})
            await passed.prepare(request)
            with suppress(ConnectionResetError):  # the client has left
                async for piece in answer.content.iter_any():
                    await passed.write(piece)
            return passed

    @asynccontextmanager
    async def a_namespace(self) -> AsyncIterator[None]:
        """The namespace, fresh; it is gone afterwards."""
        await self._remove()
        await self.send("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        try:
            yield
        finally:
            await self._remove()

    async def forbid_pods(self) -> None:
        """A quota of none, from now on: Jobs stay Jobs."""
        quota = {"metadata": {"generateName": "no-pods-"}, "spec": {"hard": {"pods": "0"}}}
        await self.send("POST", f"/api/v1/namespaces/{self.namespace}/resourcequotas", quota)

    async def _remove(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}"
        async with asyncio.timeout(300):
            while await self._is_there(path):  # noqa: ASYNC110 - nothing could tell us
                await asyncio.sleep(0.5)

    async def _is_there(self, path: str) -> bool:
        async with self._session.delete(self.server + path) as answer:
            return answer.status != 404


def _tls(config: dict[str, Any]) -> ssl.SSLContext:
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with tempfile.NamedTemporaryFile() as both:
        both.write(base64.b64decode(user["client-certificate-data"]))
        both.write(base64.b64decode(user["client-key-data"]))
        both.flush()
        context.load_cert_chain(both.name)
    return context
