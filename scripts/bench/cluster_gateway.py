"""A gateway process on the cluster, an MLflow that knows one run, and what is asked of the two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from cluster_api import JSON, each
from servers import free_port

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Gateway:
    """A gateway process on the cluster, and a session that speaks to it."""

    session: aiohttp.ClientSession
    url: str
    pid: int

    async def post(self, path: str, body: bytes) -> Any:
        async with self.session.post(f"{self.url}/api/v1/{path}", data=body, headers=JSON) as answer:
            content = await answer.read()
            if answer.status not in (200, 202):
                raise RuntimeError(f"POST {path} was answered {answer.status}: {content[:300].decode()}")
            return orjson.loads(content)

    async def submit(self, bodies: Sequence[bytes], at_once: int) -> None:
        await each(bodies, lambda body: self.post("train/jobs", body), at_once)

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())

    async def status(self, noun: str, task_id: str) -> str:
        return str((await self.get(f"/api/v1/{noun}/{task_id}/status"))["status"])

    async def delete(self, path: str) -> None:
        async with self.session.delete(f"{self.url}/api/v1/{path}") as answer:
            answer.raise_for_status()


@dataclass(frozen=True)
class World:
    """What every gateway of a benchmark shares: its state, its cluster, its MLflow, its settings."""

    home: Path
    namespace: str
    kubeconfig: Path
    tracking: str

    @contextlib.asynccontextmanager
    async def gateway(self, kubeconfig: Path | None = None) -> AsyncIterator[Gateway]:
        """A gateway that answers; the next one on this world finds what it left."""
        port = free_port()
        with (self.home / "gateway.log").open("ab") as log:
            process = subprocess.Popen(  # noqa: ASYNC220
                [sys.executable, "-c", "import lag_gateway; lag_gateway.main()"],
                cwd=CHECKOUT, env=self._environment(port, kubeconfig or self.kubeconfig), stdout=log, stderr=log,
            )  # fmt: skip
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
                gateway = Gateway(session, f"http://127.0.0.1:{port}", process.pid)
                await self._answers(gateway, process)
                yield gateway
        finally:
            process.terminate()
            process.wait(30)

    def _environment(self, port: int, kubeconfig: Path) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(Path(__file__).parent)]),
            "MLOPS_HOME": str(self.home),
            "MLOPS_HTTP__PORT": str(port),
            "MLOPS_RUNTIME": "kubernetes",
            "MLOPS_PROFILES": str(self.home / "profiles.yaml"),
            "MLOPS_TRACKING__URI": self.tracking,
            "MLOPS_KUBERNETES__NAMESPACE": self.namespace,
            "MLOPS_KUBERNETES__KUBECONFIG": str(kubeconfig),
        }

    async def _answers(self, gateway: Gateway, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await gateway.get("/livez")
                return
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"The gateway did not start:\n{(self.home / 'gateway.log').read_text()[-2000:]}")
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(answer: Any) -> AsyncIterator[int]:
    """The port of this machine on which `answer` takes every request."""
    application = web.Application(client_max_size=1 << 26)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield port
    finally:
        await runner.cleanup()


async def mlflow(request: web.Request) -> web.Response:
    """An MLflow in which every run has a model, and no experiment has a run."""
    if request.path.endswith("/runs/get"):
        run = {"info": {"run_id": "0" * 32, "status": "FINISHED"}, "data": {}}
        return web.json_response({"run": run | {"outputs": {"model_outputs": [{"model_id": "m-1"}]}}})
    return web.json_response({"error_code": "RESOURCE_DOES_NOT_EXIST"}, status=404)
