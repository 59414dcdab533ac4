"""The port of every runtime: what the platform asks of the place where jobs and servers run.

A runtime is told what should be (`apply`, `stop`, `delete`) and asked what is (`observe`). Each call is idempotent and
returns once the wish is kept durably, not once it has come true; a controller compares and asks again. A runtime keeps
what it was told through a restart of the gateway, restarts the replicas of servers that end (unless another start
cannot mend it, as with a model that cannot be read), and never restarts a job.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from app.core.addresses import Address
from app.core.conditions import Termination
from app.core.scaling import StartPhase
from app.core.specs import JobSpec, ServerSpec


class ProcessState(StrEnum):
    WAITING = "Waiting"  # accepted, not yet placed: no GPU is free, say
    STARTING = "Starting"  # placed, not yet running (a server: running, not yet ready)
    RUNNING = "Running"  # a job runs; a server's replica is ready
    STOPPING = "Stopping"  # told to stop, not yet gone
    EXITED = "Exited"  # ended; a server's replica in this state is between two starts


@dataclass(frozen=True, slots=True)
class JobObservation:
    """What a runtime knows of one job. `reason` and `message` say why, for every state but RUNNING.

    `termination` is present exactly when `state` is EXITED.
    """

    name: str
    uid: str
    state: ProcessState
    reason: str = ""
    message: str = ""
    started_at: datetime | None = None
    termination: Termination | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaObservation:
    """One process of a server. `address` is known once it listens.

    `digest` is that of the spec it was made from: during a rollout old and new ones are told apart by it. `phase` is
    what it does on its way to being ready, and `seconds` what it says itself, once it is, that its phases took.
    """

    name: str
    state: ProcessState
    reason: str = ""
    message: str = ""
    address: Address | None = None
    restarts: int = 0
    last_termination: Termination | None = None
    digest: str = ""
    phase: StartPhase | None = None
    seconds: Mapping[StartPhase, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerObservation:
    """What a runtime knows of one server; `wanted` and `digest` are the replica count and the spec it was last told."""

    name: str
    uid: str
    wanted: int
    replicas: tuple[ReplicaObservation, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of a log from `offset`; `end` is the offset behind them.

    `finished`: no byte will follow `end`, unless an interrupted job is applied again.
    """

    offset: int
    content: bytes
    end: int
    finished: bool


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task's program: on which node, from which image, and how it ended. `name` is that of its place."""

    name: str
    node: str
    image_id: str
    exit_code: int | None
    reason: str
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the runtime said of a task, `count` times between two moments. `about` is what it spoke of."""

    about: str
    type: str
    reason: str
    message: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of how a task came to where it is, the oldest first; kept beside its log."""

    runs: tuple[Run, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeCapabilities:
    """What this runtime can give: `gpus` in all, and what it does not isolate, in sentences."""

    name: str
    gpus: int
    isolation_gaps: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


def ran_too_long(seconds: float) -> str:
    """What every runtime says of a job that exceeded its run deadline."""
    return f"It was stopped because it ran longer than {seconds:g} s, its profile's run deadline."


class Runtime(Protocol):
    """See the module's promise. Every method may raise `RuntimeUnavailable` (an outage)."""

    async def capabilities(self) -> RuntimeCapabilities: ...

    def admit(self, spec: JobSpec | ServerSpec) -> None:
        """Raise a refusal if `spec` could never run here (`NeverFits`, `FrameworkMissing`). Launches nothing."""

    def render(self, spec: JobSpec | ServerSpec) -> Mapping[str, object]:
        """What `apply` would launch, as plain JSON values, with no secret in it. Launches nothing."""

    async def apply(self, spec: JobSpec | ServerSpec) -> None:
        """Make `spec` so, or adopt what exists under its name and uid already.

        A job that exists is left as it is, whatever state it is in, with one exception: a job whose termination reason
        is Interrupted runs again in the same work folder. For a server a changed replica count scales it, and a
        changed digest rolls it out: a replica of the new spec is started first, and old ones go only as new ones are
        ready. Where a new one would wait for the GPU that an old one holds, one old replica makes room first. While
        new replicas are not ready the old ones that are left go on, and are restarted as what they were, for as long
        as it takes. Applying the earlier spec again takes the new ones away. A replica that goes is STOPPING, so that
        it leaves the routes, before it stops answering.
        Raises `RuntimeUnavailable` while another life (another uid, or one that is being deleted) holds the name.
        """

    async def observe_jobs(self, names: Collection[str]) -> Mapping[str, JobObservation]:
        """What is known of these jobs; a name that was never applied (or was deleted) is absent."""

    async def observe_servers(self, names: Collection[str]) -> Mapping[str, ServerObservation]:
        """What is known of these servers; a name that was never applied, or is wholly gone, is absent."""

    async def exists(self, name: str) -> bool:
        """Whether anything is there of this job, asked at the source: what is observed may be a little old."""

    async def note_run(self, name: str, run_id: str) -> None:
        """Keep the id of this job's MLflow run beside it, for people who look there. Unknown names are no error."""

    async def stop(self, name: str) -> None:
        """Stop this job with patience, keeping its log and termination. Unknown and ended jobs are no error."""

    async def delete(self, name: str) -> None:
        """Stop this job or server and remove all that was kept of it. Unknown names are no error."""

    async def read_log(self, name: str, *, replica: int = 0, offset: int = 0, limit: int = 1 << 20) -> LogChunk:
        """At most `limit` bytes from `offset`. Raises `LogNotFound` if nothing of that name was ever started."""

    async def log_offset(
        self, name: str, *, replica: int = 0, tail_lines: int | None = None, since: datetime | None = None
    ) -> int:
        """The byte offset where the last `tail_lines` lines, or what was written after `since`, begin.

        With both, the later one. `since` has the resolution of a second and may reach back a little too far.
        Raises `LogNotFound` as `read_log` does.
        """

    async def story(self, name: str) -> Story:
        """Of this job; an empty one if nothing is known of it."""

    async def check(self) -> None:
        """Raise `RuntimeUnavailable` if the runtime cannot act now; for `/readyz`."""


def run_of(seen: JobObservation, node: str) -> Run:
    """What an observation tells of the last run."""
    code, at = (seen.termination.exit_code, seen.termination.finished_at) if seen.termination else (None, None)
    return Run(seen.name, node, "", code, seen.reason, seen.started_at, at)
