"""The gateway on a real cluster: submits beside raw creates of the same Jobs in the same run.

KUBECONFIG names the cluster; the namespace is made and removed. Its quota allows no pods, so thousands of Jobs stay
Jobs. Jobs are submitted over so many connections; "of raw" compares what the gateway accepts a second, and what it has
made of it in the cluster, with what a plain client creates.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import machine
import orjson
import yaml
from cluster_api import JSON, Api
from servers import free_port

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Gateway:
    """A gateway process on the cluster, and a session that speaks to it."""

    session: aiohttp.ClientSession
    url: str
    pid: int

    async def submit(self, body: bytes) -> None:
        async with self.session.post(f"{self.url}/api/v1/train/jobs", data=body, headers=JSON) as answer:
            if answer.status != 202:
                raise RuntimeError(f"a submit was answered {answer.status}: {(await answer.text())[:300]}")
            await answer.read()

    async def submit_all(self, bodies: list[bytes], at_once: int) -> None:
        waiting = iter(bodies)

        async def worker() -> None:
            for body in waiting:
                await self.submit(body)

        await asyncio.gather(*(worker() for _ in range(at_once)))

    async def ask(self, path: str) -> Any:
        async with self.session.get(self.url + path) as answer:
            answer.raise_for_status()
            return orjson.loads(await answer.read())


@contextlib.asynccontextmanager
async def a_gateway(home: Path, namespace: str, kubeconfig: Path, **settings: str) -> AsyncIterator[Gateway]:
    port, nobody = free_port(), free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "MLOPS_HOME": str(home),
        "MLOPS_HTTP__PORT": str(port),
        "MLOPS_RUNTIME": "kubernetes",
        "MLOPS_TRACKING__URI": f"http://127.0.0.1:{nobody}",
        "MLOPS_KUBERNETES__NAMESPACE": namespace,
        "MLOPS_KUBERNETES__KUBECONFIG": str(kubeconfig),
        **settings,
    }
    with (home / "gateway.log").open("ab") as log:
        command = [sys.executable, str(Path(__file__).with_name("lag_gateway.py"))]
        process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)  # noqa: ASYNC220
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
            gateway = Gateway(session, f"http://127.0.0.1:{port}", process.pid)
            await _answers(gateway, process, home)
            yield gateway
    finally:
        process.terminate()
        process.wait(30)


async def _answers(gateway: Gateway, process: subprocess.Popen[bytes], home: Path) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            await gateway.ask("/livez")
            return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"The gateway did not start:\n{(home / 'gateway.log').read_text()[-2000:]}")
        await asyncio.sleep(0.02)


def request(name: str) -> bytes:
    return orjson.dumps(
        {"taskId": name, "experimentName": "Bench", "modelProfile": "tabular_regression",
         "customModelName": "benched", "datasetPath": "s3://datasets/bench.csv", "useGpu": False,
         "hyperparameters": {"numEpoch": 100, "learningRate": 0.001, "numBatch": 32}}
    )  # fmt: skip


async def manifest_of(gateway: Gateway) -> dict[str, Any]:
    """What the gateway would create for such a request."""
    address = f"{gateway.url}/api/v1/train/jobs?dryRun=true"
    async with gateway.session.post(address, data=request("raw"), headers=JSON) as answer:
        launch: dict[str, Any] = orjson.loads(await answer.read())["launch"]
        launch["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "bench"  # which no gateway watches
        return launch


def named(manifest: dict[str, Any], name: str) -> bytes:
    return orjson.dumps(manifest | {"metadata": manifest["metadata"] | {"name": name}})


@dataclass
class Submits:
    """One round: Jobs a second by a raw client, 202s a second, Jobs a second in the cluster, CPU ms of the gateway."""

    raw: float
    accepted: float
    created: float
    cpu: float
    lag: float


async def submits(api: Api, gateway: Gateway, manifest: dict[str, Any], tag: str, count: int, at_once: int) -> Submits:
    began = time.monotonic()
    await api.create([named(manifest, f"raw-{tag}-{i}") for i in range(count)], at_once)
    raw = count / (time.monotonic() - began)
    before = await settled(api)
    await gateway.ask("/bench/lag")
    began, cpu = time.monotonic(), machine.process_seconds(gateway.pid)
    await gateway.submit_all([request(f"bench-{tag}-{i}") for i in range(count)], at_once)
    accepted = count / (time.monotonic() - began)
    while await api.count() < before + count:  # noqa: ASYNC110 - nothing could tell us
        await asyncio.sleep(0.05)
    created = count / (time.monotonic() - began)
    cpu = (machine.process_seconds(gateway.pid) - cpu) / count * 1000
    return Submits(raw, accepted, created, cpu, (await gateway.ask("/bench/lag"))["longest_ms"])


async def settled(api: Api) -> int:
    """How many Jobs there are, once that number stays."""
    seen = await api.count()
    while True:
        await asyncio.sleep(0.5)
        if (now := await api.count()) == seen:
            return now
        seen = now


async def measure(options: argparse.Namespace, kubeconfig: Path, home: Path) -> None:
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240
    async with (
        Api.connect(config, options.namespace) as api,
        api.a_namespace(),
        a_gateway(home, options.namespace, kubeconfig) as gateway,
    ):
        manifest = await manifest_of(gateway)
        print("| round | raw creates/s | accepted/s | of raw | created/s | of raw | CPU ms/job | longest pause ms |")
        print("|--:|--:|--:|--:|--:|--:|--:|--:|")
        for number in range(options.rounds):
            done = await submits(api, gateway, manifest, str(number), options.count, options.connections)
            print(
                f"| {number + 1} | {done.raw:,.0f} | {done.accepted:,.0f} | {done.accepted / done.raw:.2f} "
                f"| {done.created:,.0f} | {done.created / done.raw:.2f} | {done.cpu:.2f} | {done.lag:.0f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--namespace", default="modelyard-bench", help="made and removed (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000, help="Jobs of a round (default %(default)s)")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    kubeconfig = Path(os.environ.get("KUBECONFIG", ""))
    if not kubeconfig.is_file():
        print("The cluster part is skipped: KUBECONFIG names no cluster.")
        return
    print(machine.describe())
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(measure(options, kubeconfig, Path(folder)))


if __name__ == "__main__":
    main()
