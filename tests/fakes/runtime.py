"""A runtime without processes: the port's promises kept in memory, with the test in the place of the programs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from app.core.addresses import Address
from app.core.conditions import Termination, TerminationReason
from app.core.errors import FrameworkMissing, LogNotFound, NeverFits, QueueUnavailable, RuntimeUnavailable
from app.core.scaling import StartPhase
from app.core.specs import JobSpec, ServerSpec
from app.runtimes.base import (
    JobObservation,
    LogChunk,
    ProcessState,
    ReplicaObservation,
    RuntimeCapabilities,
    ServerObservation,
    Story,
    ran_too_long,
    run_of,
)
from app.runtimes.local.rollouts import next_step

ENDED = (ProcessState.EXITED,)
FIRST_PORT = 9000
_PHASES = {ProcessState.WAITING: StartPhase.SCHEDULE, ProcessState.STARTING: StartPhase.LOAD}


@dataclass
class FakeProcess:
    """One job, or one replica of a server."""

    name: str
    index: int
    made_from: JobSpec | ServerSpec
    going: bool = False
    state: ProcessState = ProcessState.WAITING
    reason: str = ""
    message: str = ""
    starts: int = 0
    started_at: datetime | None = None
    address: Address | None = None
    termination: Termination | None = None
    log: bytearray = field(default_factory=bytearray)
    written: list[tuple[datetime, int]] = field(default_factory=list)  # when, and how long the log was before

    @property
    def digest(self) -> str:
        return self.made_from.digest if isinstance(self.made_from, ServerSpec) else ""

    @property
    def ready(self) -> bool:
        return self.state is ProcessState.RUNNING

    @property
    def alive(self) -> bool:
        return self.state in (ProcessState.STARTING, ProcessState.RUNNING, ProcessState.STOPPING)


@dataclass
class FakeTask:
    spec: JobSpec | ServerSpec
    accepted_at: datetime
    processes: list[FakeProcess]
    stopped: bool = False
    deleted: bool = False


class FakeRuntime:
    """A `Runtime` in memory. A job runs, and a replica starts, as soon as it has its GPUs; what happens then is up to
    the test: `prints`, `becomes_ready`, `ends`. A process that is told to stop does so at once, unless its task's name
    is in `stubborn`. `clock` tells the time; with `outage` set every method raises it.
    """

    def __init__(
        self,
        gpus: int = 0,
        missing: Collection[str] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_change: Callable[[], None] = lambda: None,
        memory: int = 1 << 40,
    ) -> None:
        self.memory = memory  # bytes
        self.gpus, self.missing, self.clock, self.on_change = gpus, missing, clock, on_change
        self.stubborn: set[str] = set()
        self.outage: RuntimeUnavailable | None = None
        self.launched: list[str] = []  # the name of a job, or of a replica, at each start
        self.runs: dict[str, str] = {}  # of MLflow, by job
        self.observations = 0  # of servers
        self.listens_at: Address | None = None  # every replica; else each at a port where nobody is
        self._tasks: dict[str, FakeTask] = {}
        self._ports = iter(range(FIRST_PORT, 65536))

    # What programs do, played by the test.

    def prints(self, name: str, text: bytes, replica: int = 0) -> None:
        process = self._process(name, replica)
        process.written.append((self.clock(), len(process.log)))
        process.log += text

    def becomes_ready(self, name: str, replica: int = 0) -> None:
        self._change(self._process(name, replica), ProcessState.RUNNING)

    def serves_at(self, name: str, address: Address, replica: int = 0) -> None:
        """The replica is ready, at an address where something answers."""
        process = self._process(name, replica)
        process.address = address
        self._change(process, ProcessState.RUNNING)

    def is_unready(self, name: str, reason: str, message: str, replica: int = 0) -> None:
        self._change(self._process(name, replica), ProcessState.STARTING, reason, message)

    def ends(
        self, name: str, exit_code: int | None = 0, reason: str = "", message: str = "", *,
        signal: str | None = None, replica: int = 0,
    ) -> None:  # fmt: skip
        """The process ends; without a reason of its own it gets the one that a runtime would find."""
        task, process = self._tasks[name], self._process(name, replica)
        default = "Stopped" if task.stopped else TerminationReason.CRASHED
        reason = reason or (TerminationReason.COMPLETED if exit_code == 0 else default)
        process.termination = Termination(reason, exit_code, signal, message or f"{reason}.", self.clock())
        process.address = None
        self._change(process, ProcessState.EXITED, reason, process.termination.message)
        self._settle()

    def restarts(self, name: str, replica: int = 0) -> None:
        """The back-off of a replica that ended is over."""
        self._process(name, replica).state = ProcessState.WAITING
        self._settle()

    def started(self, process: FakeProcess) -> None:
        """Called after each start of a process; for those who let programs play themselves."""

    def told_to_stop(self, process: FakeProcess) -> None:
        """Called when a process is told to stop; it ends here, or later."""
        if process.name not in self.stubborn:
            self.ends(process.name, None, signal="SIGTERM", replica=process.index)

    def spec(self, name: str) -> JobSpec | ServerSpec:
        return self._tasks[name].spec

    # The port.

    async def capabilities(self) -> RuntimeCapabilities:
        await self.check()
        return RuntimeCapabilities("fake", self.gpus, ("Nothing is real here.",))

    def admit(self, spec: JobSpec | ServerSpec) -> None:
        if isinstance(spec, JobSpec) and spec.queue:
            raise QueueUnavailable(spec.queue, "The fake runtime has no queues.")
        if spec.resources.gpus > self.gpus:
            raise NeverFits("GPU", str(spec.resources.gpus), str(self.gpus))
        replicas = spec.replicas if isinstance(spec, ServerSpec) else 1
        if replicas * spec.resources.memory_bytes > self.memory:
            raise NeverFits("memory", str(replicas * spec.resources.memory_bytes), str(self.memory), replicas)
        if missing := [package for package in spec.program.requires if package in self.missing]:
            raise FrameworkMissing(spec.labels.get("modelyard/profile", spec.name), missing, spec.program.install)

    def render(self, spec: JobSpec | ServerSpec) -> Mapping[str, object]:
        return {"module": spec.program.module, "environment": dict(spec.program.environment)}

    async def apply(self, spec: JobSpec | ServerSpec) -> None:
        await self.check()
        task = self._tasks.get(spec.name)
        if task is None:
            processes = [FakeProcess(spec.name, 0, spec)] if isinstance(spec, JobSpec) else []
            self._tasks[spec.name] = FakeTask(spec, self.clock(), processes)
        elif task.deleted or task.spec.uid != spec.uid:
            raise RuntimeUnavailable(f"{spec.name} of an earlier life is not wholly gone yet.")
        elif isinstance(spec, ServerSpec) and isinstance(task.spec, ServerSpec):
            task.spec = spec
        elif (end := task.processes[0].termination) and end.reason == TerminationReason.INTERRUPTED:
            task.stopped, task.accepted_at = False, self.clock()
            task.processes[0].state, task.processes[0].termination = ProcessState.WAITING, None
        self._settle()

    async def observe_jobs(self, names: Collection[str]) -> Mapping[str, JobObservation]:
        await self.check()
        self._settle()
        return {name: self._job(task) for name, task in self._of_kind(JobSpec, names)}

    async def observe_servers(self, names: Collection[str]) -> Mapping[str, ServerObservation]:
        self.observations += 1
        await self.check()
        self._settle()
        return {name: self._server(task) for name, task in self._of_kind(ServerSpec, names)}

    async def exists(self, name: str) -> bool:
        return name in await self.observe_jobs([name])

    async def note_run(self, name: str, run_id: str) -> None:
        await self.check()
        if name in self._tasks:
            self.runs[name] = run_id

    async def stop(self, name: str) -> None:
        await self.check()
        if (task := self._tasks.get(name)) and isinstance(task.spec, JobSpec):
            task.stopped = task.stopped or task.processes[0].state not in ENDED
            self._settle()

    async def delete(self, name: str) -> None:
        await self.check()
        if task := self._tasks.get(name):
            task.deleted = task.stopped = True
            self._settle()

    async def read_log(self, name: str, *, replica: int = 0, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        await self.check()
        process = self._logged(name, replica)
        content = bytes(process.log[offset : offset + limit])
        over = process.state in ENDED and isinstance(self._tasks[name].spec, JobSpec)
        end = offset + len(content)
        return LogChunk(offset, content, end, finished=over and end >= len(process.log))

    async def log_offset(
        self, name: str, *, replica: int = 0, tail_lines: int | None = None, since: datetime | None = None
    ) -> int:
        await self.check()
        process = self._logged(name, replica)
        lines = bytes(process.log).splitlines(keepends=True)
        early = lines[: max(0, len(lines) - tail_lines)] if tail_lines is not None else []
        later = [start for at, start in process.written if since is not None and at >= since]
        recent = min(later, default=len(process.log)) if since is not None else 0
        return max(sum(map(len, early)), recent)

    async def story(self, name: str) -> Story:
        seen = (await self.observe_jobs([name])).get(name)
        return Story((run_of(seen, "fake"),)) if seen is not None and seen.started_at else Story()

    async def check(self) -> None:
        if self.outage:
            raise self.outage

    # How it keeps its promises.

    def _settle(self) -> None:
        """Bring every task one step nearer to what is wished; `ends` calls it again."""
        for name, task in sorted(self._tasks.items(), key=lambda one: one[1].accepted_at):
            if isinstance(task.spec, ServerSpec):
                self._scale(task, task.spec)
            for process in list(task.processes):
                self._step(task, process)
            if task.deleted and not any(process.alive for process in task.processes):
                self._tasks.pop(name, None)
                self.on_change()

    def _scale(self, task: FakeTask, spec: ServerSpec) -> None:
        staying = [one for one in task.processes if not one.going]
        new = [one for one in staying if one.digest == spec.digest]
        old = [one for one in staying if one.digest != spec.digest]
        free = self.gpus - sum(self._gpus_of(other) for other in self._tasks.values())
        in_place = free < spec.resources.gpus and not any(one.starts for one in new if not one.ready)
        starts, going = next_step(0 if task.deleted else spec.replicas, old, new, in_place=in_place)
        for _ in range(starts):
            taken = {one.index for one in task.processes}
            index = next(index for index in count() if index not in taken)
            task.processes.append(FakeProcess(spec.name, index, spec))
        for process in going:
            process.going = True
        for process in going:
            if process.alive:
                self._tell(process)
        task.processes = sorted(
            (one for one in task.processes if not one.going or one.alive), key=lambda one: one.index
        )

    def _step(self, task: FakeTask, process: FakeProcess) -> None:
        limit = task.spec.run_deadline if isinstance(task.spec, JobSpec) else None
        if limit and process.alive and process.started_at and self.clock() - process.started_at > limit:
            self.ends(process.name, None, TerminationReason.DEADLINE_EXCEEDED, ran_too_long(limit.total_seconds()))
        if task.stopped and process.state in (ProcessState.STARTING, ProcessState.RUNNING):
            self._tell(process)
        elif task.stopped and process.state is ProcessState.WAITING:
            self.ends(process.name, None, "Stopped", "It was stopped before it started.", replica=process.index)
        elif process.state is ProcessState.WAITING:
            self._place(task, process)

    def _place(self, task: FakeTask, process: FakeProcess) -> None:
        asked, held = task.spec.resources.gpus, sum(self._gpus_of(other) for other in self._tasks.values())
        if asked and held + asked > self.gpus:
            process.reason = "Unschedulable"
            process.message = f"It asks for {asked} GPUs; {self.gpus - held} of {self.gpus} are free."
            late = self.clock() - task.accepted_at > max(task.spec.start_deadline, timedelta())
            if late and isinstance(task.spec, JobSpec):
                self.ends(process.name, None, TerminationReason.DEADLINE_EXCEEDED, process.message)
            return
        process.starts += 1
        process.started_at = self.clock()
        self.launched.append(process.name if isinstance(task.spec, JobSpec) else f"{process.name}-{process.index}")
        if isinstance(task.spec, ServerSpec):
            process.address = self.listens_at or Address("127.0.0.1", next(self._ports))
        self._change(process, ProcessState.RUNNING if isinstance(task.spec, JobSpec) else ProcessState.STARTING)
        self.started(process)

    def _tell(self, process: FakeProcess) -> None:
        self._change(process, ProcessState.STOPPING, "Stopped", "It was told to stop.")
        self.told_to_stop(process)

    def _gpus_of(self, task: FakeTask) -> int:
        return task.spec.resources.gpus * sum(process.alive for process in task.processes)

    def _change(self, process: FakeProcess, state: ProcessState, reason: str = "", message: str = "") -> None:
        process.state, process.reason, process.message = state, reason, message
        self.on_change()

    def _process(self, name: str, replica: int) -> FakeProcess:
        return next(process for process in self._tasks[name].processes if process.index == replica)

    def _logged(self, name: str, replica: int) -> FakeProcess:
        task = self._tasks.get(name)
        for place, process in enumerate(task.processes if task else ()):
            if place == replica and process.starts:
                return process
        raise LogNotFound(name)

    def _of_kind(self, kind: type, names: Collection[str]) -> list[tuple[str, FakeTask]]:
        found = [(name, self._tasks[name]) for name in names if name in self._tasks]
        return [(name, task) for name, task in found if isinstance(task.spec, kind)]

    def _job(self, task: FakeTask) -> JobObservation:
        one = task.processes[0]
        return JobObservation(
            one.name, task.spec.uid, one.state, one.reason, one.message, one.started_at, one.termination
        )

    def _server(self, task: FakeTask) -> ServerObservation:
        wanted = task.spec.replicas if isinstance(task.spec, ServerSpec) and not task.deleted else 0
        replicas = tuple(
            ReplicaObservation(
                f"{one.name}-{one.index}", one.state, one.reason, one.message, one.address,
                max(0, one.starts - 1), one.termination, one.digest, _PHASES.get(one.state),
            )
            for one in task.processes
        )  # fmt: skip
        digest = task.spec.digest if isinstance(task.spec, ServerSpec) else ""
        return ServerObservation(task.spec.name, task.spec.uid, wanted, replicas, digest=digest)
