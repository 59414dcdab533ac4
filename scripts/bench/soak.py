"""A long mixed load through the gateway: every answer compared, memory watched.

A gateway with the local runtime serves a random forest, a logistic regression and a text model. It is asked as fast as
it answers first, over so many connections; then at a share of that rate. Requests differ in rows, family and, where the
gateway speaks it, protocol. Each answer is compared with that of the model called in this process for it alone.
Memory counts as flat if the last fifth of the samples lies no more than 3 MB and 3 percent above the second fifth.
The last line is the same as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import machine
import packages
import uvloop
from packages import CHECKOUT
from servers import free_port, leave_nothing_running
from soaked import Deployed, all_deployed, questions
from steady import Asked, Tally, ask

START_SECONDS = 180
SAMPLES = 300  # of memory, at most one a second


@dataclass(frozen=True)
class Memory:
    """Of one process, MB: medians of the second and of the last fifth of its samples."""

    process: str
    early: float
    late: float
    largest: float

    @classmethod
    def of(cls, process: str, samples: list[float]) -> Memory:
        fifth = max(len(samples) // 5, 1)
        return cls(process, statistics.median(samples[fifth : 2 * fifth] or samples),
                   statistics.median(samples[-fifth:]), max(samples))  # fmt: skip

    @property
    def is_flat(self) -> bool:
        return self.late - self.early <= max(3.0, 0.03 * self.early)


class Gateway:
    """A gateway process with its state in `home`, and what it is asked for."""

    def __init__(self, home: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.home, self.process, self.port = home, process, port

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer; None for any refusal."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"{}")
        except (OSError, ValueError):
            return None

    def deploy(self, deployed: Deployed) -> None:
        body = {"taskId": deployed.task, "modelId": deployed.task, "modelProfile": deployed.profile}
        if self.call("POST", "/api/v1/inference/deployments", body | {"mlflowRunId": deployed.task}) is None:
            raise RuntimeError(f"The gateway refused to deploy {deployed.task}:\n{self.log()}")

    def await_ready(self, task: str) -> None:
        def is_ready() -> bool:
            status = self.call("GET", f"/api/v1/inference/deployments/{task}/status") or {}
            return status.get("status") == "Ready"

        self.until(is_ready, f"{task} is ready")

    def until(self, condition: Any, what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Waited in vain until {what}:\n{self.log()}")
            time.sleep(0.1)

    def speaks_v2(self, task: str) -> bool:
        return self.call("GET", f"/api/v1/inference/{task}/v2/health/ready") is not None

    def memory(self) -> dict[str, float]:
        """MB of the gateway and of each model server, by name."""
        found = {"gateway": machine.resident_megabytes(self.process.pid)}
        for pid in machine.descendants(self.process.pid):
            if task := _served_by(pid):
                found[task] = machine.resident_megabytes(pid)
        return found

    def log(self) -> str:
        return (self.home / "gateway.log").read_text()[-3000:]


def _served_by(pid: int) -> str | None:
    """The task of a model server's process."""
    try:
        if b"inference_server" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return None
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    letter = next((one for one in variables if one.startswith(b"MLOPS_SERVER_INPUT=")), None)
    return str(json.loads(letter.partition(b"=")[2])["task_id"]) if letter else None


@contextmanager
def gateway(home: Path, tracking: str) -> Iterator[Gateway]:
    """A gateway that answers; at the end it is gone, with all that it launched."""
    home.mkdir()
    port, own = free_port(), {"PYTHONPATH": str(CHECKOUT), "MLOPS_HOME": str(home)}
    own |= {"MLOPS_HTTP__PORT": str(port), "MLOPS_TRACKING__URI": tracking, "MLOPS_LOG_FORMAT": "json"}
    with (home / "gateway.log").open("wb") as log:
        command = [sys.executable, "-m", "app"]
        process = subprocess.Popen(command, cwd=CHECKOUT, env={**os.environ, **own}, stdout=log, stderr=log)
    try:
        found = Gateway(home, process, port)
        found.until(lambda: found.call("GET", "/livez") is not None, "the gateway answers")
        yield found
    finally:
        process.terminate()
        process.wait(60)
        stop = [sys.executable, "-m", "app.runtimes.local", "stop", "--home", str(home)]
        subprocess.run(stop, cwd=CHECKOUT, env={**os.environ, **own}, capture_output=True, timeout=120, check=True)


async def soak(gate: Gateway, asked: list[Asked], options: argparse.Namespace) -> tuple[float, Tally, list[Memory]]:
    """The capacity in requests a second, what came of the long load, and the memory of each process under it."""
    await ask(gate.port, asked, connections=options.connections, seconds=2, rate=None)  # warm up
    hurried = await ask(gate.port, asked, connections=options.connections, seconds=options.calibration, rate=None)
    capacity, seconds = hurried.answered / hurried.seconds, options.minutes * 60
    if not capacity:
        raise RuntimeError(f"Nothing was answered ({_said(hurried)}):\n{gate.log()}")
    print(f"capacity {capacity:,.0f} requests/s ({_said(hurried)})", file=sys.stderr, flush=True)
    samples: dict[str, list[float]] = {}

    async def watch() -> None:
        while True:
            with suppress(OSError):  # of a process that just ended
                for process, megabytes in gate.memory().items():
                    samples.setdefault(process, []).append(megabytes)
            await asyncio.sleep(max(seconds / SAMPLES, 1))

    watching = asyncio.create_task(watch())
    load = options.share * capacity
    tally = await ask(gate.port, asked, connections=options.connections, seconds=seconds, rate=load)
    watching.cancel()
    return capacity, tally, [Memory.of(process, found) for process, found in samples.items()]


def _said(tally: Tally) -> str:
    failed = ", ".join(f"{number} x {what}" for what, number in tally.failed.items()) or "0"
    return f"{tally.answered:,} answers, {tally.wrong} wrong, {tally.shed:,} shed, failed {failed}"


def report(capacity: float, tally: Tally, memories: list[Memory], options: Mapping[str, Any], v2: bool) -> None:
    times = {name: tally.milliseconds(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    rate = tally.answered / tally.seconds
    print(f"soak: {tally.seconds / 60:.1f} minutes at {rate:,.0f} requests/s, {rate / capacity:.2f} of the capacity; "
          f"predict{' and v2' if v2 else ''}. {machine.describe()}\n")  # fmt: skip
    print(f"{_said(tally)}; {', '.join(f'{name} {value:.1f} ms' for name, value in times.items())}\n")
    for example in tally.examples:
        print(f"wrong: {example}")
    print("| process | early MB | late MB | largest MB | memory |\n|---|--:|--:|--:|---|")
    for one in memories:
        verdict = "flat" if one.is_flat else "grows"
        print(f"| {one.process} | {one.early:.1f} | {one.late:.1f} | {one.largest:.1f} | {verdict} |")
    counted = {"right": tally.right, "wrong": tally.wrong, "shed": tally.shed, "failed": tally.failed}
    content = {"machine": machine.describe(), "options": options, "capacity": capacity, "rate": rate, "v2": v2}
    print("\n" + json.dumps(content | counted | {"milliseconds": times, "memory": list(map(asdict, memories))}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="(default %(default)s)")
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity (default %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="(default %(default)s)")
    parser.add_argument("--calibration", type=float, default=10, help="seconds at full speed (default %(default)s)")
    options = parser.parse_args()
    leave_nothing_running()
    with tempfile.TemporaryDirectory(prefix="bench-soak-") as folder:
        home = Path(folder)
        models = all_deployed(home)
        with (
            packages.tracking({model.task: model.folder for model in models}) as tracking,
            gateway(home / "yard", tracking) as gate,
        ):
            for model in models:
                gate.deploy(model)
            for model in models:
                gate.await_ready(model.task)
            v2 = gate.speaks_v2(models[0].task)
            asked = [question for model in models for question in questions(model, v2=v2)]
            random.Random(1).shuffle(asked)
            found = uvloop.run(soak(gate, asked, options))
            report(*found, vars(options), v2)


if __name__ == "__main__":
    main()
