"""A place for the tests of the local runtime: small real programs, and patience that polls."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from app.core.conditions import Termination
from app.core.errors import LogNotFound
from app.core.specs import JobSpec, Program, Resources, ServerSpec
from app.runtimes.base import JobObservation, ProcessState, ReplicaObservation
from app.runtimes.local.runtime import LocalRuntime
from app.runtimes.local.settings import LocalSettings, Patience

T = TypeVar("T")
DEADLINE = 20
JOB_PATIENCE = Patience(interrupt=5, terminate=5)
SERVER_PATIENCE = Patience(drain=0.05, interrupt=0, terminate=5)
SERVER = """
    import http.server, os, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(open("status").read()) if os.path.exists("status") else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    with open(os.environ["ADDRESS"], "w") as file:
        file.write("127.0.0.1:%d" % server.server_port)
    server.serve_forever()
"""


async def until(look: Callable[[], Awaitable[T | None] | T | None]) -> T:
    """Look until there is something."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = look()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


class Workshop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.programs = folder / "programs"
        self.programs.mkdir()

    def settings(self, **changes: Any) -> LocalSettings:
        fast = {"job_patience": JOB_PATIENCE, "server_patience": SERVER_PATIENCE, "period": 0.1, "backoff_first": 0.05}
        return LocalSettings(self.home, **{**fast, **changes})

    @asynccontextmanager
    async def runtime(self, environment: Mapping[str, str] = os.environ, **changes: Any) -> AsyncIterator[LocalRuntime]:
        """A gateway's runtime; what it runs goes on after it."""
        runtime = LocalRuntime(self.settings(**changes), environment)
        await runtime.start()
        try:
            yield runtime
        finally:
            await runtime.close()

    async def stop_all(self) -> list[str]:
        lines: list[str] = []
        async with self.runtime(job_patience=JOB_PATIENCE) as runtime:
            await runtime.stop_all(lines.append)
        return lines

    def program(self, name: str, source: str, **environment: str) -> Program:
        module = name.replace("-", "_")
        (self.programs / f"{module}.py").write_text(textwrap.dedent(source))
        where = {"PYTHONPATH": str(self.programs), "TOLD": "{{termination_log}}", "ADDRESS": "{{address_file}}"}
        return Program(module, {**where, **environment}, image="image:1")

    def job(self, name: str, source: str, *, gpus: int = 0, deadline: float = 60, **environment: Any) -> JobSpec:
        program, resources = self.program(name, source, **environment), Resources(2000, 1 << 28, gpus)
        return JobSpec(name, name, f"uid-{name}", program, resources, timedelta(seconds=deadline))

    def server(self, name: str, source: str = SERVER, *, replicas: int = 1, deadline: float = 60) -> ServerSpec:
        program, resources = self.program(name, source), Resources(1000, 1 << 28)
        return ServerSpec(name, name, f"uid-{name}", program, resources, timedelta(seconds=deadline), replicas)

    def slot(self, name: str) -> Path:
        return self.home / "jobs" / name


async def job_when(
    runtime: LocalRuntime, name: str, wanted: Callable[[JobObservation], bool] = lambda seen: True
) -> JobObservation:
    async def look() -> JobObservation | None:
        seen = (await runtime.observe_jobs([name])).get(name)
        return seen if seen and wanted(seen) else None

    return await until(look)


async def ended(runtime: LocalRuntime, name: str) -> Termination:
    seen = await job_when(runtime, name, lambda seen: seen.state is ProcessState.EXITED)
    assert seen.termination is not None
    return seen.termination


async def replica_when(
    runtime: LocalRuntime, name: str, wanted: Callable[[ReplicaObservation], bool], index: int = 0
) -> ReplicaObservation:
    async def look() -> ReplicaObservation | None:
        seen = (await runtime.observe_servers([name])).get(name)
        found = seen.replicas[index] if seen and len(seen.replicas) > index else None
        return found if found and wanted(found) else None

    return await until(look)


def is_ready(seen: ReplicaObservation) -> bool:
    return seen.state is ProcessState.RUNNING


async def says(runtime: LocalRuntime, name: str, text: str) -> str:
    """The whole log, once `text` stands in it."""

    async def look() -> str | None:
        with suppress(LogNotFound):
            log = (await runtime.read_log(name)).content.decode()
            return log if text in log else None
        return None

    return await until(look)


async def runs(runtime: LocalRuntime, spec: JobSpec, text: str = "ready") -> list[int]:
    """Apply a job and wait until it has printed `text`; the numbers that follow it in the log, such as pids."""
    await runtime.apply(spec)
    await job_when(runtime, spec.name, lambda seen: seen.state is ProcessState.RUNNING)
    log = await says(runtime, spec.name, f"{text}")
    return [int(word) for word in log.split() if word.isdigit()]


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in b"ZX"
    return False


def with_labels(spec: JobSpec, **labels: str) -> JobSpec:
    return replace(spec, labels={f"modelyard/{name.replace('_', '-')}": value for name, value in labels.items()})
