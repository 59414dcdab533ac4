"""The cluster's API, spoken plainly for a benchmark: a namespace in which no pod may run; Jobs created and counted."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
import orjson

JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}


class Api:
    """Raw JSON through aiohttp, with the client certificate of a kubeconfig: as little as a client can be."""

    def __init__(self, session: aiohttp.ClientSession, server: str, namespace: str) -> None:
        self._session, self.server, self.namespace = session, server, namespace
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    @classmethod
    @asynccontextmanager
    async def connect(cls, config: dict[str, Any], namespace: str) -> AsyncIterator[Self]:
        """`config` is what a kubeconfig holds; its first cluster and user count."""
        connector = aiohttp.TCPConnector(ssl=_tls(config), limit=64)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield cls(session, config["clusters"][0]["cluster"]["server"], namespace)

    async def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] = JSON) -> Any:
        async with self._session.request(method, self.server + path, data=body, headers=headers) as answer:
            content = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path} answered {answer.status}: {content[:300].decode()}")
            return orjson.loads(content)

    async def count(self) -> int:
        """All Jobs of the namespace, without reading them."""
        page = await self.send("GET", f"{self.jobs}?limit=1")
        return len(page["items"]) + page["metadata"].get("remainingItemCount", 0)

    async def create(self, bodies: Iterable[bytes], at_once: int) -> None:
        """Create Jobs, so many at a time."""
        waiting = iter(bodies)

        async def worker() -> None:
            for body in waiting:
                await self.send("POST", self.jobs, body)

        await asyncio.gather(*(worker() for _ in range(at_once)))

    @asynccontextmanager
    async def a_namespace(self) -> AsyncIterator[None]:
        """The namespace, fresh, with a quota of no pods: Jobs stay Jobs. It is gone afterwards."""
        await self._remove()
        namespace = {"metadata": {"name": self.namespace}}
        await self.send("POST", "/api/v1/namespaces", orjson.dumps(namespace))
        quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
        await self.send("POST", f"/api/v1/namespaces/{self.namespace}/resourcequotas", orjson.dumps(quota))
        try:
            yield
        finally:
            await self._remove()

    async def allow_pods(self) -> None:
        await self.send("DELETE", f"/api/v1/namespaces/{self.namespace}/resourcequotas/no-pods")

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
