"""The local runtime: jobs and servers as processes of this machine, with their truth on its disk."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import structlog

from app.core.errors import FrameworkMissing, LogNotFound, NeverFits, QueueUnavailable, RuntimeUnavailable
from app.core.specs import JobSpec, ServerSpec
from app.runtimes.base import (
    JobObservation,
    LogChunk,
    ProcessState,
    RuntimeCapabilities,
    ServerObservation,
    Story,
    run_of,
)
from app.runtimes.local import logs
from app.runtimes.local.attempt import Slot
from app.runtimes.local.frameworks import Frameworks
from app.runtimes.local.gpus import devices
from app.runtimes.local.kubelet import Halt, Kubelet
from app.runtimes.local.launcher import Launcher, own_environment
from app.runtimes.local.settings import INHERITED, LocalSettings
from app.runtimes.local.wishes import JOB, SERVER, Key, Wishes

PROFILE_LABEL = "modelyard/profile"
ISOLATION_GAPS = (
    "Jobs and servers run as the gateway's user and can read and change every file that it can.",
    "They share this machine's network; nothing limits where they connect or listen.",
    "Memory limits are not enforced: a task that takes too much can bring others down.",
    "CPU limits are not enforced; they only set how many threads numerical libraries start.",
    "GPUs are handed out by count; nothing keeps a program from using one that it was not given.",
)
log = structlog.get_logger(__name__)


def nothing() -> None:
    """The hook of one who does not want to be called."""


class LocalRuntime:
    """A `Runtime`. Several may share a home, in several gateways: one acts, all may wish and observe.

    `environment` is what the gateway was started with, unless told otherwise. `on_change` is called on the event loop
    when an observation has changed, only in the gateway that acts. What runs outlives `close` and the gateway itself.
    """

    def __init__(
        self,
        settings: LocalSettings,
        environment: Mapping[str, str] | None = None,
        on_change: Callable[[], None] = nothing,
    ) -> None:
        environment = own_environment() if environment is None else environment
        self._settings = settings
        self._gpus = devices(environment, settings.gpus)
        self._wishes = Wishes(settings.home)
        self._launcher = Launcher(settings, environment)
        self._frameworks = Frameworks(settings.python)
        self._on_change = on_change
        self._kubelet: Kubelet | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self, *, halting: bool = False) -> None:
        """Take up what is on the disk; returns when what runs has been looked at. Raises RuntimeUnavailable.

        `halting`: only to stop all; nothing is started.
        """
        async with _disk():
            await asyncio.to_thread(self._wishes.open)
        self._kubelet = Kubelet(self._settings, self._wishes, self._launcher, self._gpus, self._on_change)
        self._kubelet.halting = Halt.TASKS if halting else Halt.NOTHING
        self._task = asyncio.create_task(self._kubelet.run())
        if not halting:
            log.warning("runtime.isolation", runtime="local", not_isolated=ISOLATION_GAPS)
        self._task.add_done_callback(_tell_end)
        await self._kubelet.look_again()

    @property
    def home(self) -> Path:
        return self._settings.home

    async def close(self) -> None:
        """Stop acting. Jobs and servers go on."""
        if self._kubelet and self._task:
            self._kubelet.close()
            await asyncio.gather(self._task, return_exceptions=True)
        self._kubelet = self._task = None

    async def stop_all(self, say: Callable[[str], None], poll: float = 0.05) -> None:
        """Stop every process with patience and start none, for taking the platform down; `say` gets a line for each.

        The platform's own servers go last. Nothing is forgotten: servers come back with the next gateway, and a job
        that was stopped so ends Interrupted. Raises RuntimeUnavailable if another gateway acts on this home.
        """
        known: set[str] = set()
        for halting in (Halt.TASKS, Halt.ALL):
            while alive := await self._halt(halting):
                for holder in sorted(known - alive):
                    say(f"{holder}: stopped")
                for holder in sorted(alive - known):
                    say(f"{holder}: asked to stop")
                known = alive
                await asyncio.sleep(poll)
            for holder in sorted(known):
                say(f"{holder}: stopped")
            known = set()

    async def _halt(self, halting: Halt) -> set[str]:
        """Who is still alive of those that shall stop, after a whole look."""
        kubelet = self._acting()
        kubelet.halting = halting
        await kubelet.look_again()
        return set(kubelet.stopping)

    def _acting(self) -> Kubelet:
        if self._kubelet is None or not self._kubelet.acts or self._task is None or self._task.done():
            raise RuntimeUnavailable(f"Another gateway acts on {self._settings.home}; stop that one first.")
        return self._kubelet

    async def capabilities(self) -> RuntimeCapabilities:
        details = {"home": str(self._settings.home), "python": str(self._settings.python)}
        return RuntimeCapabilities("local", len(self._gpus), ISOLATION_GAPS, details)

    def admit(self, spec: JobSpec | ServerSpec) -> None:
        if isinstance(spec, JobSpec) and spec.queue:
            raise QueueUnavailable(spec.queue, "The local runtime starts jobs in the order in which they came.")
        asked = spec.resources.gpus
        if asked > len(self._gpus):
            raise NeverFits("GPU", str(asked), str(len(self._gpus)))
        self._admit_memory(spec)
        try:
            missing = self._frameworks.missing(spec.program.requires)
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeUnavailable(f"{self._settings.python} does not answer: {error}") from error
        if missing:
            raise FrameworkMissing(spec.labels.get(PROFILE_LABEL, spec.name), missing, spec.program.install)

    def _admit_memory(self, spec: JobSpec | ServerSpec) -> None:
        """What runs elsewhere on the machine is left out: that may change, the machine does not."""
        one, total = spec.resources.memory_bytes, self._settings.memory
        replicas = spec.replicas if isinstance(spec, ServerSpec) else 1
        if replicas > 1 and one <= total < replicas * one:
            raise NeverFits("memory", f"{replicas} x {_gibibytes(one)}", _gibibytes(total), replicas)
        if replicas and one > total:
            raise NeverFits("memory", _gibibytes(one), _gibibytes(total))

    def render(self, spec: JobSpec | ServerSpec) -> Mapping[str, object]:
        key = Key(JOB if isinstance(spec, JobSpec) else SERVER, spec.name)
        attempt = self._wishes.slot(key).attempt(1)
        return {
            "runtime": "local",
            "command": self._launcher.command(spec.program),
            "environment": self._launcher.visible_environment(spec.program, spec.resources, attempt),
            "inherits": list(INHERITED),
            "secrets": list(spec.program.secrets),
            "workingDirectory": str(attempt.slot.work),
            "log": str(attempt.slot.log),
            "gpus": spec.resources.gpus,
            "processes": spec.replicas if isinstance(spec, ServerSpec) else 1,
        }

    async def apply(self, spec: JobSpec | ServerSpec) -> None:
        async with self._wish():
            await asyncio.to_thread(self._wishes.apply, spec)

    async def exists(self, name: str) -> bool:
        return name in await self.observe_jobs([name])

    async def note_run(self, name: str, run_id: str) -> None:
        async with _disk():
            await asyncio.to_thread(self._wishes.note_run, name, run_id)

    async def stop(self, name: str) -> None:
        async with self._wish():
            await asyncio.to_thread(self._wishes.stop, name)

    async def delete(self, name: str) -> None:
        async with self._wish():
            await asyncio.to_thread(self._wishes.delete, name)

    @asynccontextmanager
    async def _wish(self) -> AsyncIterator[None]:
        """One at a time and in turn, so that who was first to ask is first to get a GPU."""
        async with self._turn, _disk():
            yield
        if self._kubelet:
            self._kubelet.call()

    async def observe_jobs(self, names: Collection[str]) -> Mapping[str, JobObservation]:
        async with _disk():
            return await asyncio.to_thread(self._wishes.observed_jobs, names)

    async def observe_servers(self, names: Collection[str]) -> Mapping[str, ServerObservation]:
        async with _disk():
            return await asyncio.to_thread(self._wishes.observed_servers, names)

    async def read_log(self, name: str, *, replica: int = 0, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        def read() -> LogChunk:
            slot = self._slot(name, replica)
            return logs.read_chunk(name, slot.log, offset, limit, lambda: self._has_ended(name))

        async with _disk():
            return await asyncio.to_thread(read)

    async def log_offset(
        self, name: str, *, replica: int = 0, tail_lines: int | None = None, since: datetime | None = None
    ) -> int:
        def find() -> int:
            return logs.offset_of(name, self._slot(name, replica), tail_lines, since)

        async with _disk():
            return await asyncio.to_thread(find)

    def _slot(self, name: str, replica: int) -> Slot:
        key = self._wishes.find(name)
        if key is None or (key.kind == JOB and replica != 0):
            raise LogNotFound(name)
        if key.kind == JOB:
            return self._wishes.slot(key)
        if replica not in range(len(numbers := self._wishes.replicas(key))):
            raise LogNotFound(name)
        return self._wishes.slot(key, numbers[replica])

    def _has_ended(self, name: str) -> bool:
        seen = self._wishes.observed_jobs([name]).get(name)
        return seen is not None and seen.state is ProcessState.EXITED

    async def story(self, name: str) -> Story:
        seen = (await self.observe_jobs([name])).get(name)
        return Story((run_of(seen, socket.gethostname()),)) if seen is not None and seen.started_at else Story()

    async def check(self) -> None:
        if self._kubelet is None or self._task is None or self._task.done():
            raise RuntimeUnavailable("The local runtime's loop does not run.")
        if self._kubelet.trouble:
            raise RuntimeUnavailable(f"The local runtime cannot act: {self._kubelet.trouble}")


def _gibibytes(count: int) -> str:
    return f"{count / (1 << 30):.4g} GiB"


def _tell_end(task: asyncio.Task[None]) -> None:
    """The loop ends when it is closed; anything else must not go unseen. `check` fails from then on."""
    if not task.cancelled() and (error := task.exception()):
        log.error("runtime.loop_died", exc_info=error)


@asynccontextmanager
async def _disk() -> AsyncIterator[None]:
    try:
        yield
    except OSError as error:
        raise RuntimeUnavailable(f"The local runtime's disk does not serve: {error}") from error
