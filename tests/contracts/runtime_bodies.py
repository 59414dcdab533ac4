"""The bodies of the port that keep its contract, with the programs of the suite, and patience that polls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from app.archive.folder import FolderArchive
from app.core.specs import JobSpec, Placeholders, Program, Resources, ServerSpec
from app.runtimes.base import JobObservation, ProcessState, Runtime, ServerObservation
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.local.runtime import LocalRuntime
from app.runtimes.local.settings import LocalSettings, Patience
from tests.cluster.namespaces import a_namespace
from tests.contracts.runtime_actor import ACT, DIE_ONCE, END, STARE, WAIT, Act, letter
from tests.fakes.runtime import FakeProcess, FakeRuntime

T = TypeVar("T")
GPUS = 2  # that every body gives
INSTALL = "pip install no-such-framework"


class ActingFake(FakeRuntime):
    """The fake, with the acts of this suite for programs."""

    def _act(self, process: FakeProcess) -> Act:
        return Act(**json.loads(process.made_from.program.environment[ACT]))

    def started(self, process: FakeProcess) -> None:
        act = self._act(process)
        self.prints(process.name, "\n".join([f"run {process.starts}", *act.says, ""]).encode(), process.index)
        if act.then == END:
            self._end(process, act)
        elif act.then == STARE:
            self.is_unready(process.name, act.reason, act.message, process.index)
        elif act.then == DIE_ONCE and process.starts == 1:
            self.ends(process.name, 9, replica=process.index)
            self.restarts(process.name, process.index)
        elif act.then != WAIT:
            self.becomes_ready(process.name, process.index)

    def told_to_stop(self, process: FakeProcess) -> None:
        self._end(process, self._act(process))

    def _end(self, process: FakeProcess, act: Act) -> None:
        self.ends(process.name, act.exit_code, act.reason, act.message, replica=process.index)


@asynccontextmanager
async def fake(tmp_path: Path) -> AsyncIterator[Runtime]:
    yield ActingFake(GPUS, missing=["no_such_framework"])


@asynccontextmanager
async def local(tmp_path: Path) -> AsyncIterator[Runtime]:
    patience = Patience(drain=0.05, interrupt=5, terminate=5)
    settings = LocalSettings(
        tmp_path / "home", gpus=GPUS, job_patience=patience, server_patience=patience, period=0.1, backoff_first=0.05
    )
    runtime = LocalRuntime(settings)
    await runtime.start()
    yield runtime
    await runtime.stop_all(lambda line: None)
    await runtime.close()


@asynccontextmanager
async def kubernetes(tmp_path: Path) -> AsyncIterator[Runtime]:
    async with a_namespace() as settings:
        runtime = KubernetesRuntime(settings, archive=FolderArchive(tmp_path))
        await runtime.start()
        yield runtime
        await runtime.close()


Body = Callable[[Path], AbstractAsyncContextManager[Runtime]]
WITHOUT_IMAGES: list[Body] = [fake, local]  # they run programs with the packages that they find
BODIES: list[Body] = [*WITHOUT_IMAGES, kubernetes]


def program(act: Act) -> Program:
    places = (Placeholders.WORK_DIR, Placeholders.TERMINATION_LOG, Placeholders.LISTEN, Placeholders.ADDRESS_FILE)
    environment = letter(act, *places) | {"PYTHONPATH": str(Path(__file__).parent)}
    return Program("runtime_actor", environment, image="localhost/actor:2", install=INSTALL)


def job(
    act: Act, name: str = "train-a", gpus: int = 0, uid: str = "u1", deadline: float = 60, longest: float | None = None
) -> JobSpec:
    limit = None if longest is None else timedelta(seconds=longest)
    resources, start = Resources(100, 1 << 27, gpus), timedelta(seconds=deadline)
    return JobSpec(name, name, uid, program(act), resources, start, run_deadline=limit)


def server(act: Act, replicas: int = 1, name: str = "serve-a", uid: str = "u1", gpus: int = 0) -> ServerSpec:
    resources = Resources(100, 1 << 27, gpus)
    return ServerSpec(name, name, uid, program(act), resources, timedelta(seconds=60), replicas)


async def until(look: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
    """Look until there is something."""
    async with asyncio.timeout(seconds):
        while True:
            if found := await look():
                return found
            await asyncio.sleep(0.02)


async def until_job(runtime: Runtime, name: str, wanted: Callable[[JobObservation], bool]) -> JobObservation:
    async def look() -> JobObservation | None:
        seen = (await runtime.observe_jobs([name])).get(name)
        return seen if seen and wanted(seen) else None

    return await until(look)


async def exited(runtime: Runtime, name: str = "train-a") -> JobObservation:
    return await until_job(runtime, name, lambda seen: seen.state is ProcessState.EXITED)


async def running_and_heard(runtime: Runtime, name: str = "train-a", text: bytes = b"run 1\n") -> None:
    async def heard() -> bool:
        return text in await log_of(runtime, name)

    await until_job(runtime, name, lambda seen: seen.state is ProcessState.RUNNING)
    await until(heard)


async def until_server(runtime: Runtime, wanted: Callable[[ServerObservation], bool]) -> ServerObservation:
    async def look() -> ServerObservation | None:
        seen = (await runtime.observe_servers(["serve-a"])).get("serve-a")
        return seen if seen and wanted(seen) else None

    return await until(look)


def ready(count: int) -> Callable[[ServerObservation], bool]:
    """Exactly so many replicas, all ready."""
    return lambda seen: [replica.state for replica in seen.replicas] == [ProcessState.RUNNING] * count


def rolled_out(spec: ServerSpec) -> Callable[[ServerObservation], bool]:
    """Exactly the wanted replicas, all ready and all made from this spec."""
    seen_ready = ready(spec.replicas)
    return lambda seen: seen_ready(seen) and {replica.digest for replica in seen.replicas} == {spec.digest}


async def gone(runtime: Runtime, name: str) -> None:
    async def absent() -> bool:
        return not await runtime.observe_jobs([name]) and not await runtime.observe_servers([name])

    await until(absent)


async def log_of(runtime: Runtime, name: str = "train-a", replica: int = 0) -> bytes:
    return (await runtime.read_log(name, replica=replica)).content
