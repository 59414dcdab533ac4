"""What was asked for, on disk: one wish a task, kept whole, and the short list of tasks that still need somebody.

    <home>/jobs/<name>/       wish.json, observed.json, log, log.index, work/, attempts/<run>/
    <home>/servers/<name>/    wish.json, observed.json, replicas/<number>/ (each as a job's folder, with the spec.json
                              that it was made from)
    <home>/active/            an empty file for each task that has not come to rest; all else costs nothing
    <home>/trash/             what was deleted, on its way out

Every change holds one lock, so several gateways may share a home. What returns has been kept through a power cut.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from app.core.conditions import TerminationReason
from app.core.errors import RuntimeUnavailable
from app.core.specs import JobSpec, Placement, ServerSpec
from app.runtimes.base import JobObservation, ProcessState, ServerObservation
from app.runtimes.local import records
from app.runtimes.local.attempt import Slot
from app.runtimes.local.files import locked, read_json, sync_folder, write_json
from app.runtimes.local.kernel import Moment

JOB, SERVER = "job", "server"
IMAGE_LABEL = "modelyard/image-from-request"  # "true" on what names an image because its user did
PLATFORM_LABEL = "modelyard/platform"  # on the platform's own servers, which stop last
_FOLDERS = {JOB: "jobs", SERVER: "servers"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def notes_of(spec: JobSpec | ServerSpec) -> tuple[str, ...]:
    notes = []
    if spec.labels.get(IMAGE_LABEL) == "true":
        notes.append(f"The image {spec.program.image} was not used: the local runtime runs programs of this checkout.")
    if spec.placement != Placement():
        notes.append("Its profile's node selector, tolerations and runtime class were not used: there is one machine.")
    return tuple(notes)


class Key(NamedTuple):
    """A task: its kind, JOB or SERVER, and its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `run` counts the times a job was asked to run; `accepted` is when it was, the last time."""

    spec: JobSpec | ServerSpec
    accepted: Moment
    run: int = 1
    stopped: bool = False
    deleted: bool = False


class Unreadable(OSError):  # noqa: N818 - the name says what it is
    """A note on disk that this version of the platform cannot read."""


class Order(Enum):
    """What the platform's own state adds to a wish."""

    GO = auto()
    HOLD = auto()  # start nothing
    STOP = auto()  # start nothing, and stop what runs without forgetting what was wished


class Wishes:
    """Every method does file work and may raise OSError; names that no task can have are those of unknown tasks."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._active = home / "active"
        self._trash = home / "trash"
        self._lock = home / "wishes.lock"

    def open(self) -> None:
        """Make the folders, and finish deletions that were cut short."""
        for folder in (*(self.home / name for name in _FOLDERS.values()), self._active, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(self._lock):
            for rest in self._trash.iterdir():
                shutil.rmtree(rest, ignore_errors=True)
            for key in self._marked():
                with contextlib.suppress(Unreadable):  # it keeps its mark: somebody may mend it
                    if self.read(key) is None:
                        self._mark(key).unlink()

    def folder(self, key: Key) -> Path:
        return self.home / _FOLDERS[key.kind] / key.name

    def slot(self, key: Key, replica: int = 0) -> Slot:
        return Slot(self.folder(key) if key.kind == JOB else self.folder(key) / "replicas" / str(replica))

    def replicas(self, key: Key) -> list[int]:
        """The numbers of a server's slots that exist; they come and go with rollouts."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(name) for name in os.listdir(self.folder(key) / "replicas") if name.isdigit())  # noqa: PTH208
        return []

    def read(self, key: Key) -> Wish | None:
        """Raises Unreadable."""
        if not _NAME.fullmatch(key.name):
            return None
        note = self.folder(key) / "wish.json"
        if (record := read_json(note)) is not None:
            return _wish(key.kind, record)
        if note.exists() and read_json(note) is None:  # not one that was written in this very moment
            raise Unreadable(f"The wish of {key.name} is damaged.")
        return None

    def find(self, name: str) -> Key | None:
        """The task of this name, a job before a server."""
        keys = (Key(JOB, name), Key(SERVER, name))
        return next((key for key in keys if self.read(key) is not None), None)

    def active(self) -> list[tuple[Key, Wish]]:
        """The tasks that have not come to rest, in the order in which they were accepted."""
        found = [(key, wish) for key in self._marked() if (wish := self._known(key))]
        return sorted(found, key=lambda one: (one[1].accepted.at, one[0].name))

    def _known(self, key: Key) -> Wish | None:
        """As `read`, but a note that cannot be read hides its own task alone."""
        with contextlib.suppress(Unreadable):
            return self.read(key)
        return None

    def _marked(self) -> list[Key]:
        entries = (entry.partition(".") for entry in os.listdir(self._active))  # noqa: PTH208
        return [Key(kind, name) for kind, _, name in entries if kind in _FOLDERS and _NAME.fullmatch(name)]

    def apply(self, spec: JobSpec | ServerSpec) -> None:
        key = Key(JOB if isinstance(spec, JobSpec) else SERVER, spec.name)
        if not _NAME.fullmatch(spec.name):
            raise ValueError(f"{spec.name!r} cannot be the name of a task.")
        with locked(self._lock):
            self._keep(key, self._applied(key, spec))

    def _applied(self, key: Key, spec: JobSpec | ServerSpec) -> Wish | None:
        old = self.read(key)
        if old is None:
            return Wish(spec, Moment.now())
        if old.deleted or old.spec.uid != spec.uid:
            raise RuntimeUnavailable(f"The {key.kind} {key.name} of an earlier life is not wholly gone yet; ask again.")
        if isinstance(old.spec, ServerSpec) and isinstance(spec, ServerSpec):
            return replace(old, spec=spec)
        rest = self._at_rest(key, old)
        if rest is None:
            return old
        interrupted = rest.termination is not None and rest.termination.reason == TerminationReason.INTERRUPTED
        return replace(old, run=old.run + 1, stopped=False, accepted=Moment.now()) if interrupted else None

    def stop(self, name: str) -> None:
        key = Key(JOB, name)
        self._amend(key, lambda wish: None if self._at_rest(key, wish) else replace(wish, stopped=True))

    def note_run(self, name: str, run_id: str) -> None:
        folder = self.folder(Key(JOB, name))
        if self.read(Key(JOB, name)) is not None:
            write_json(folder / "run.json", {"run_id": run_id})

    def delete(self, name: str) -> None:
        for key in (Key(JOB, name), Key(SERVER, name)):
            self._amend(key, lambda wish: replace(wish, deleted=True))

    def _amend(self, key: Key, change: Callable[[Wish], Wish | None]) -> None:
        with locked(self._lock):
            wish = self.read(key)
            if wish is not None:
                self._keep(key, change(wish))

    def _keep(self, key: Key, wish: Wish | None) -> None:
        """Its place in the list first, then the wish: a place without a wish is passed over, but a wish without a place
        would be seen as accepted and never be carried out."""
        if wish is None:
            return
        if not self._mark(key).exists():
            self._mark(key).touch()
            sync_folder(self._active)
        if wish != self.read(key):
            folder = self.folder(key)
            if not folder.exists():
                folder.mkdir()
                sync_folder(folder.parent)
            write_json(folder / "wish.json", _record(wish))

    def _mark(self, key: Key) -> Path:
        return self._active / f"{key.kind}.{key.name}"

    def settle(self, key: Key, run: int) -> None:
        """Take a job that has come to rest off the list, unless something new was asked of it meanwhile."""
        with locked(self._lock):
            wish = self.read(key)
            if wish is not None and wish.run == run and not wish.deleted:
                self._mark(key).unlink(missing_ok=True)

    def remove(self, key: Key) -> None:
        """Remove all that was kept of a task: out of sight at once, then off the disk."""
        gone = self._trash / f"{key.kind}.{time.time_ns()}"
        with locked(self._lock), contextlib.suppress(FileNotFoundError):
            self.folder(key).rename(gone)
            sync_folder(self.folder(key).parent)
            self._mark(key).unlink(missing_ok=True)
        shutil.rmtree(gone, ignore_errors=True)

    def publish(self, key: Key, run: int, observation: JobObservation | ServerObservation, *, durable: bool) -> None:
        record = records.observation_record(observation)
        write_json(self.folder(key) / "observed.json", {"run": run, "seen": record}, durable=durable)

    def _at_rest(self, key: Key, wish: Wish) -> JobObservation | None:
        """What was seen of a job's present run, if it has ended."""
        seen = self._seen(key, wish)
        known = _told(records.job_observation, seen)
        return known if known and known.state is ProcessState.EXITED else None

    def _seen(self, key: Key, wish: Wish) -> dict[str, Any] | None:
        record = read_json(self.folder(key) / "observed.json", {"run": int, "seen": dict})
        return record["seen"] if record and record["run"] == wish.run else None

    def observed_jobs(self, names: Iterable[str]) -> dict[str, JobObservation]:
        wishes = {name: wish for name in names if (wish := self._known(Key(JOB, name)))}
        return {name: self._observed_job(name, wish) for name, wish in wishes.items()}

    def _observed_job(self, name: str, wish: Wish) -> JobObservation:
        if known := _told(records.job_observation, self._seen(Key(JOB, name), wish)):
            return known
        why, notes = ("Accepted", "It was accepted just now."), notes_of(wish.spec)
        return JobObservation(name, wish.spec.uid, ProcessState.WAITING, *why, notes=notes)

    def observed_servers(self, names: Iterable[str]) -> dict[str, ServerObservation]:
        wishes = {name: wish for name in names if (wish := self._known(Key(SERVER, name)))}
        return {name: self._observed_server(name, wish) for name, wish in wishes.items()}

    def _observed_server(self, name: str, wish: Wish) -> ServerObservation:
        seen = self._seen(Key(SERVER, name), wish)
        if not isinstance(wish.spec, ServerSpec):
            raise Unreadable(f"The wish of {name} is none for a server.")
        known = _told(records.server_observation, seen) or ServerObservation(name, wish.spec.uid, 0)
        return replace(known, wanted=0 if wish.deleted else wish.spec.replicas, digest=wish.spec.digest)


Observation = TypeVar("Observation", JobObservation, ServerObservation)


def _told(read: Callable[[dict[str, Any]], Observation], seen: dict[str, Any] | None) -> Observation | None:
    """What was seen, if it can be read: a damaged note will be written anew."""
    try:
        return read(seen) if seen else None
    except (KeyError, TypeError, ValueError):
        return None


def _record(wish: Wish) -> dict[str, Any]:
    state = {"run": wish.run, "stopped": wish.stopped, "deleted": wish.deleted}
    return {"spec": records.spec_record(wish.spec), "accepted": list(wish.accepted), **state}


def _wish(kind: str, record: dict[str, Any]) -> Wish:
    try:
        spec = records.job_spec(record["spec"]) if kind == JOB else records.server_spec(record["spec"])
        state = {name: record[name] for name in ("run", "stopped", "deleted")}
        return Wish(spec, Moment(*record["accepted"]), **state)
    except (KeyError, TypeError, ValueError) as error:
        raise Unreadable(f"A wish cannot be read; another version of the platform wrote it: {error}") from error
