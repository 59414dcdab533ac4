"""The gateway on a real cluster, which KUBECONFIG names; the namespace is made and removed.

ready     POST of a deployment until it is Ready, beside a bare Deployment with the same manifest. Its image is built
          from scripts/bench/server and must be in the cluster.
submits   Jobs submitted, beside raw creates of the same Jobs in the same run. "accepted" counts the 202s, "created"
          what has come of them in the cluster. A quota allows no pods, so that thousands of Jobs stay Jobs.
crowd     a gateway that starts to thousands of unfinished Jobs: its first list, its memory, what it does when nothing
          changes, and how soon a change is told.

"pause" is how long the gateway's event loop was away, by the clock; "work" how much of that was the gateway's own CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import machine
import orjson
import yaml
from cluster_api import Api
from cluster_gateway import CHECKOUT, Gateway, World, mlflow, serving

PARTS = ("ready", "submits", "crowd")


def job(name: str) -> bytes:
    return orjson.dumps(
        {"taskId": name, "experimentName": "Bench", "modelProfile": "tabular_regression",
         "customModelName": "benched", "datasetPath": "s3://datasets/bench.csv", "useGpu": False,
         "hyperparameters": {"numEpoch": 100, "learningRate": 0.001, "numBatch": 32}}
    )  # fmt: skip


def deployment(name: str) -> bytes:
    return orjson.dumps(
        {"taskId": name, "modelId": name, "mlflowRunId": "0" * 32, "modelProfile": "tabular_regression"}
    )


async def manifest(gateway: Gateway, noun: str, body: bytes) -> dict[str, Any]:
    """What the gateway would create for such a request, under a label that no gateway watches."""
    launch = (await gateway.post(f"{noun}?dryRun=true", body))["launch"]
    text = orjson.dumps(launch).replace(
        b'"app.kubernetes.io/managed-by":"modelyard"', b'"app.kubernetes.io/managed-by":"bench"'
    )
    found: dict[str, Any] = orjson.loads(text)
    return found


def named(bare: dict[str, Any], name: str) -> bytes:
    return orjson.dumps(bare | {"metadata": bare["metadata"] | {"name": name}})


async def submits(world: World, api: Api, options: argparse.Namespace) -> None:
    print(
        "| round | raw/s | accepted/s | of raw | created/s | of raw | CPU ms/accepted | /created | pause ms | work ms |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    await api.forbid_pods()
    async with world.gateway() as gateway:
        bare = await manifest(gateway, "train/jobs", job("raw"))
        for number in range(options.rounds):
            began = time.monotonic()
            bodies = [named(bare, f"raw-{number}-{i}") for i in range(options.count)]
            await api.create(bodies, options.connections)
            raw = options.count / (time.monotonic() - began)
            row = await one_round(api, gateway, [job(f"bench-{number}-{i}") for i in range(options.count)], options)
            accepted, created, cpu_accepted, cpu_created, lag = row
            print(
                f"| {number + 1} | {raw:,.0f} | {accepted:,.0f} | {accepted / raw:.2f} | {created:,.0f} "
                f"| {created / raw:.2f} | {cpu_accepted:.2f} | {cpu_created:.2f} "
                f"| {lag['pause_ms']:.0f} | {lag['work_ms']:.0f} |",
                flush=True,
            )
    print("Bound: accepted 0.5 of raw.\n")


async def one_round(
    api: Api, gateway: Gateway, bodies: list[bytes], options: argparse.Namespace
) -> tuple[float, float, float, float, Any]:
    """Accepted and created a second, the gateway's CPU ms for each, and what its loop did."""
    before, count = await settled(api), len(bodies)
    await gateway.get("/bench/lag")
    began, cpu = time.monotonic(), machine.process_seconds(gateway.pid)
    await gateway.submit(bodies, options.connections)
    accepted, cpu_accepted = count / (time.monotonic() - began), machine.process_seconds(gateway.pid) - cpu
    while await api.count() < before + count:  # noqa: ASYNC110 - nothing could tell us
        await asyncio.sleep(0.05)
    created, cpu_created = count / (time.monotonic() - began), machine.process_seconds(gateway.pid) - cpu
    lag = await gateway.get("/bench/lag")
    return accepted, created, cpu_accepted / count * 1000, cpu_created / count * 1000, lag


async def settled(api: Api) -> int:
    """How many Jobs there are, once that number stays."""
    seen = await api.count()
    while True:
        await asyncio.sleep(0.5)
        if (now := await api.count()) == seen:
            return now
        seen = now


async def crowd(world: World, api: Api, options: argparse.Namespace) -> None:
    await api.forbid_pods()
    async with world.gateway() as gateway:
        wanted = await settled(api) + options.jobs
        await gateway.submit([job(f"crowd-{i}") for i in range(options.jobs)], options.connections)
        while await api.count() < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
        await asyncio.sleep(10)  # for the cluster's complaints that it may make no pods
    async with world.gateway() as gateway:
        start = await gateway.get("/bench/lag")
        await asyncio.sleep(15)
        after = await gateway.get("/bench/lag")
        cpu = machine.process_seconds(gateway.pid)
        await asyncio.sleep(options.idle)
        idle = (machine.process_seconds(gateway.pid) - cpu) / options.idle
        lag = await gateway.get("/bench/lag")
        told = [await until_told(api, gateway, f"crowd-{i * options.jobs // 10}") for i in range(10)]
        memory = machine.resident_megabytes(gateway.pid)
    calls = await calls_when_idle(world, api, options.idle)
    print(
        "| jobs | start s | pause ms | work ms | idle: CPU % | pause ms | work ms | told s | max | MB | API calls/min |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    pause, work = (max(start[name], after[name]) for name in ("pause_ms", "work_ms"))
    print(
        f"| {options.jobs:,} | {start['start_s']:.2f} | {pause:.0f} | {work:.0f} | {idle * 100:.1f} "
        f"| {lag['pause_ms']:.0f} | {lag['work_ms']:.0f} | {statistics.median(told):.2f} | {max(told):.2f} "
        f"| {memory:.0f} | {calls} |"
    )
    print("Bounds: start 3 s, work 50 ms, told 1 s, 250 MB, no calls but for watches.\n", flush=True)


async def until_told(api: Api, gateway: Gateway, task: str) -> float:
    """Seconds from the end of a Job, as its controller would write it, to a status that says so."""
    end = {"type": "Failed", "status": "True", "reason": "Bench", "message": "It was ended by the benchmark."}
    await api.send("PATCH", f"{api.jobs}/train-{task}/status", {"status": {"conditions": [end]}})
    began = time.monotonic()
    while await gateway.status("train/jobs", task) != "Failed":
        if time.monotonic() - began > 30:
            raise RuntimeError(f"The end of {task} was not told within 30 s.")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def calls_when_idle(world: World, api: Api, seconds: int) -> str:
    """What a gateway asks of the API in a minute when nothing changes, watches apart."""
    plain = world.home / "counted.kubeconfig"
    async with serving(api.pass_on) as port:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "c"}}
        config = {"clusters": [cluster], "contexts": [context], "users": [{"name": "c", "user": {}}]}
        plain.write_text(yaml.safe_dump(config | {"apiVersion": "v1", "kind": "Config", "current-context": "c"}))
        async with world.gateway(plain):
            await quiet(api)
            api.counted.clear()
            await asyncio.sleep(seconds)
            counted = {what: number for what, number in api.counted.items() if not what.startswith("watch")}
    words = ", ".join(f"{what} {number * 60 / seconds:.0f}" for what, number in counted.items())
    return words or "0"


async def quiet(api: Api) -> None:
    """Wait until nothing but watches was asked for 5 s."""
    for _ in range(24):
        before = api.counted.total()
        await asyncio.sleep(5)
        if api.counted.total() == before:
            return


async def ready(world: World, api: Api, options: argparse.Namespace) -> None:
    bare_times, times = [], []
    async with world.gateway() as gateway:
        bare = await manifest(gateway, "inference/deployments", deployment("raw"))
        for number in range(options.rounds + 1):
            bare_times.append(await until_available(api, named(bare, "bare"), "bare"))
            times.append(await until_ready(gateway, f"bench-{number}"))
    bare_time, time_ = statistics.median(bare_times[1:]), statistics.median(times[1:])  # the first ones warm up
    print("| bare Deployment s | POST to Ready s | more s |\n|--:|--:|--:|")
    print(f"| {bare_time:.2f} | {time_:.2f} | {time_ - bare_time:.2f} |\nBound: 2 s more.\n")


async def until_available(api: Api, body: bytes, name: str) -> float:
    began = time.monotonic()
    await api.send("POST", api.servers, body)
    while not await api.is_available(name):
        await _patience(began, name)
    taken = time.monotonic() - began
    await api.send("DELETE", f"{api.servers}/{name}", {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
    return taken


async def until_ready(gateway: Gateway, name: str) -> float:
    began = time.monotonic()
    await gateway.post("inference/deployments", deployment(name))
    while await gateway.status("inference/deployments", name) != "Ready":
        await _patience(began, name)
    taken = time.monotonic() - began
    await gateway.delete(f"inference/deployments/{name}")
    return taken


async def _patience(began: float, name: str) -> None:
    if time.monotonic() - began > 60:
        raise RuntimeError(f"{name} is not ready after 60 s. Is its image in the cluster? See scripts/bench/server.")
    await asyncio.sleep(0.02)


def profiles(image: str) -> str:
    """The shipped ones, with a small server of this image."""
    shipped = (CHECKOUT / "model_profiles.yaml").read_text()
    return shipped.replace(
        "serving: {image: modelyard-inference:latest, cpu: 500m, memory: 1Gi",
        f"serving: {{image: {image}, cpu: 10m, memory: 64Mi",
    )


async def measure(options: argparse.Namespace, kubeconfig: Path, home: Path) -> None:
    (home / "profiles.yaml").write_text(profiles(options.image))
    config = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api.connect(config, options.namespace))
        await stack.enter_async_context(api.a_namespace())
        tracking = await stack.enter_async_context(serving(mlflow))
        world = World(home, options.namespace, kubeconfig, f"http://127.0.0.1:{tracking}")
        for name, part in (("ready", ready), ("submits", submits), ("crowd", crowd)):
            if name in options.parts:
                await part(world, api, options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--namespace", default="modelyard-bench", help="made and removed (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000, help="submits of a round (default %(default)s)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--jobs", type=int, default=5000, help="of the crowd (default %(default)s)")
    parser.add_argument("--idle", type=int, default=60, help="seconds in which nothing changes (default %(default)s)")
    parser.add_argument("--image", default="localhost/bench-server:1", help="of a server that is ready at once")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}")
    options.parts = options.parts or PARTS
    kubeconfig = Path(os.environ.get("KUBECONFIG", ""))
    if not kubeconfig.is_file():
        print("The cluster part is skipped: KUBECONFIG names no cluster.")
        return
    print(machine.describe(), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(measure(options, kubeconfig, Path(folder)))


if __name__ == "__main__":
    main()
