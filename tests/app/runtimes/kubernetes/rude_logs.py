"""An API that gives logs rudely: streams break in mid-line, repeat a second of lines, end too early, or hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from kubernetes.aio.client import ApiClient, Configuration

from app.archive.base import Archive
from app.archive.folder import FolderArchive
from app.runtimes.kubernetes import records
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.kept_logs import KeptLogs
from app.runtimes.kubernetes.reach import ByPod
from app.runtimes.kubernetes.stories import Stories

START = datetime(2025, 1, 1, tzinfo=UTC).timestamp()


@dataclass
class Container:
    """`lines` are (seconds after START, text with or without its line feed); what is rotated away is deleted."""

    lines: list[tuple[float, bytes]] = field(default_factory=list)
    running: bool = True
    breaks_after: list[int] = field(default_factory=list)  # bytes of the next streams, which are then cut off
    closes_early: int = 0  # streams that end by themselves while it runs
    hangs: int = 0  # streams that give nothing and stay
    says: bytes = b""  # in the place of a log


def stamped(at: float, text: bytes) -> bytes:
    """As a kubelet before 1.26 does it: every 16 KiB of a line has its time."""
    moment = datetime.fromtimestamp(START + at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode()
    return b"".join(moment + text[start : start + 16384] for start in range(0, len(text), 16384))


class RudeNode:
    """Containers by pod, the last restart last."""

    def __init__(self) -> None:
        self.pods: dict[str, list[Container]] = {}
        self.asked: list[tuple[str, bool, str]] = []  # pod, follow, since
        self.fails = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/log"):
            return self._told(request)
        pod, query = request.path.split("/")[-2], request.query
        follow, since = query["follow"] == "true", query.get("sinceTime", "")
        self.asked.append((pod, follow, since))
        if self.fails:
            return web.json_response({"message": "no node"}, status=500)
        if pod not in self.pods:
            return web.json_response({"message": f"pod {pod} not found"}, status=404)
        container = self.pods[pod][-2 if "previous" in query else -1]
        response = web.StreamResponse()
        await response.prepare(request)
        await self._play(container, follow, since, response, request)
        return response

    def _told(self, request: web.Request) -> web.Response:
        if not request.path.endswith("/events"):
            return web.json_response({"message": "gone"}, status=404)
        name = request.query["fieldSelector"].partition("=")[2]
        about = {"kind": "Pod", "name": name}
        event = {"metadata": {"creationTimestamp": "2026-11-21T00:00:00Z"}, "involvedObject": about, "reason": "Seen"}
        return web.json_response({"metadata": {}, "items": [event]})

    async def _play(
        self, container: Container, follow: bool, since: str, response: web.StreamResponse, request: Any
    ) -> None:
        if container.says:
            await response.write(container.says)
            return
        if follow and container.hangs:
            container.hangs -= 1
            await asyncio.sleep(3600)
        early = follow and container.closes_early > 0
        container.closes_early -= early
        left = container.breaks_after.pop(0) if container.breaks_after and follow else None
        from_ = datetime.fromisoformat(since).timestamp() - START if since else 0.0
        position = 0
        while True:
            while position < len(container.lines):
                line, position = container.lines[position], position + 1
                if line[0] >= from_:
                    content = stamped(*line)
                    await response.write(content if left is None else content[:left])
                    if left is not None and (left := left - len(content)) <= 0:
                        request.transport.abort()
                        return
            if not follow or not container.running or early:
                return
            await asyncio.sleep(0.01)


def pod_manifest(name: str, *, run: int = 1, restarts: int = 0, ended: bool = False, server: bool = False) -> Any:
    notes = {"modelyard/uid": "u1", "modelyard/run": str(run)} | ({"modelyard/health-path": "/ready"} if server else {})
    started = datetime.fromtimestamp(START, UTC).isoformat()
    gone = {"exitCode": 0, "startedAt": started, "finishedAt": started, "reason": "Completed"}
    state: Any = {"terminated": gone} if ended else {"running": {"startedAt": started}}
    status = {"name": "main", "restartCount": restarts, "state": state}
    return {
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "uid": name,
            "labels": {"app.kubernetes.io/instance": "train-a"},
            "annotations": notes,
            "creationTimestamp": started,
        },
        "spec": {"containers": [{}], "nodeName": "n1"},
        "status": {"phase": "Succeeded" if ended and not server else "Running", "containerStatuses": [status]},
    }


class Yard:
    """A node with its pods, what a gateway knows of them, and gateways on demand."""

    def __init__(self, node: RudeNode, url: str, archive: Archive) -> None:
        self.node, self._url, self.archive = node, url, archive
        self._clusters: list[Cluster] = []
        self._manifests: dict[str, Any] = {}

    def pod(self, name: str, **how: Any) -> Container:
        """Make it, or change it; gives its container that runs now."""
        containers = self.node.pods.setdefault(name, [])
        while len(containers) <= how.get("restarts", 0):
            containers.append(Container())
        for earlier in containers[:-1]:
            earlier.running = False
        containers[-1].running = not how.get("ended", False)
        self._manifests[name] = pod_manifest(name, **how)
        self._tell()
        return containers[-1]

    def remove(self, name: str) -> None:
        self._manifests.pop(name)
        self.node.pods.pop(name, None)
        self._tell()

    def _tell(self) -> None:
        for cluster in self._clusters:
            for name in [*cluster.pods.known, *self._manifests]:
                manifest = self._manifests.get(name)
                cluster.pods._replace(name, records.pod_record(manifest, None) if manifest else None)

    @asynccontextmanager
    async def stories(self) -> AsyncIterator[Stories]:
        """Those that a gateway tells which knows none of the objects any more."""
        client = Client(ApiClient(Configuration(host=self._url)), "n")
        yield Stories(client, Cluster(client, 0, ByPod(), lambda: None), self.archive)
        await client.close()

    @asynccontextmanager
    async def gateway(self, acts: bool = True) -> AsyncIterator[KeptLogs]:
        client = Client(ApiClient(Configuration(host=self._url, connection_pool_maxsize=0)), "n")
        cluster = Cluster(client, 0, ByPod(), lambda: None)
        for watch in (cluster.jobs, cluster.servers, cluster.pods):
            watch.synced.set()
        self._clusters.append(cluster)
        self._tell()
        stories = Stories(client, cluster, self.archive)
        logs = KeptLogs(client, cluster, self.archive, stories, 0.05, lambda: acts)
        tasks = [asyncio.create_task(loop) for loop in logs.loops()]
        try:
            yield logs
        finally:
            self._clusters.remove(cluster)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await logs.close()


@asynccontextmanager
async def a_yard(folder: Path) -> AsyncIterator[Yard]:
    node = RudeNode()
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", node.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield Yard(node, f"http://127.0.0.1:{runner.addresses[0][1]}", FolderArchive(folder))
    finally:
        await runner.cleanup()
