"""Records: what is kept of the cluster's objects, a few hundred bytes each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.runtimes.kubernetes.manifests import (
    CONTAINER,
    DIGEST,
    GPU,
    HEALTH_PATH,
    INSTANCE,
    RUN,
    START_DEADLINE,
    STOP,
    UID,
    Manifest,
)
from app.runtimes.kubernetes.watch import version_of

_PULL_FAILED = "ErrImagePull"


@dataclass(frozen=True, slots=True)
class Stop:
    """That a job was told to stop, and why; kept as an annotation of its Job."""

    reason: str
    message: str
    at: datetime

    def text(self) -> str:
        return json.dumps({"reason": self.reason, "message": self.message, "at": self.at.isoformat()})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """`uid` is the task's life, `object_uid` the object's."""

    name: str
    version: int
    object_uid: str
    uid: str
    run: int
    created: datetime
    deleting: bool
    start_deadline: float
    stop: Stop | None
    over: bool
    failed: str
    held: bool  # by parallelism 0: no pod will be made


@dataclass(frozen=True, slots=True)
class ServerRecord:
    name: str
    version: int
    object_uid: str
    uid: str
    wanted: int
    deleting: bool
    digest: str  # of the spec that its template was made from
    gpus: int
    in_place: bool  # how it rolls out: an old pod goes before a new one comes
    trouble: str  # why pods cannot be made: a quota, say


@dataclass(frozen=True, slots=True)
class Ended:
    """A container's end, as the node saw it."""

    reason: str
    exit_code: int
    signal: int
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PodRecord:
    """One pod and its one container. `failed_pulls` counts the failures to pull its image that were seen."""

    name: str
    version: int
    task: str
    uid: str
    run: int
    created: datetime
    deleting: bool
    phase: str
    reason: str
    message: str
    unschedulable: str
    node: str
    ip: str
    ready: bool
    gpus: int
    grace: int
    bounded: bool  # by a deadline of the pod: how we stop it without losing what it wrote
    health_path: str
    waiting: tuple[str, str]
    running_since: datetime | None
    ended: Ended | None
    last_end: Ended | None
    started: datetime | None
    restarts: int
    failed_pulls: int
    digest: str

    @property
    def has_begun(self) -> bool:
        return self.started is not None

    @property
    def is_over(self) -> bool:
        """It runs no more and never will again."""
        return self.running_since is None and (self.ended is not None or self.is_final)

    @property
    def is_final(self) -> bool:
        """The cluster counts it as ended, and its GPUs as free; its container may still be on its way out."""
        return self.phase in ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True)
class NodeRecord:
    name: str
    version: int
    gpus: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    """The last thing that the cluster complained of about one object."""

    name: str
    version: int
    about: str
    message: str


def job_record(found: Manifest, old: JobRecord | None) -> JobRecord:
    notes, conditions = _annotations(found), found.get("status", {}).get("conditions") or []
    ends = {one["type"]: one.get("message", "") for one in conditions if one["status"] == "True"}
    return JobRecord(
        *_head(found),
        uid=notes.get(UID, ""),
        run=int(notes.get(RUN, "1")),
        created=_time(found["metadata"]["creationTimestamp"]),
        deleting=_deleting(found),
        start_deadline=float(notes.get(START_DEADLINE, "inf")),
        stop=_stop(notes[STOP]) if STOP in notes else None,
        over="Failed" in ends or "Complete" in ends,
        failed=ends.get("Failed", ""),
        held=found["spec"].get("parallelism") == 0,
    )


def server_record(found: Manifest, old: ServerRecord | None) -> ServerRecord:
    conditions = found.get("status", {}).get("conditions") or []
    template = found["spec"]["template"]
    failures = (one for one in conditions if one["type"] == "ReplicaFailure" and one["status"] == "True")
    return ServerRecord(
        *_head(found),
        uid=_annotations(found).get(UID, ""),
        wanted=found["spec"].get("replicas", 1),
        deleting=_deleting(found),
        digest=_annotations(template).get(DIGEST, ""),
        gpus=_gpus(template["spec"]),
        in_place=(found["spec"].get("strategy", {}).get("rollingUpdate") or {}).get("maxSurge") == 0,
        trouble=next((one.get("message", "") for one in failures), ""),
    )


def pod_record(found: Manifest, old: PodRecord | None) -> PodRecord:
    notes, status, spec = _annotations(found), found.get("status", {}), found["spec"]
    container: dict[str, Any] = next(
        (one for one in status.get("containerStatuses") or [] if one["name"] == CONTAINER), {}
    )
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting, running = state.get("waiting") or {}, state.get("running")
    ended, last_end = _ended(state), _ended(last)
    begun = [at for at in (_started(state), _started(last)) if at is not None]
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    name, version, _ = _head(found)
    return PodRecord(
        name=name,
        version=version,
        task=found["metadata"].get("labels", {}).get(INSTANCE, ""),
        uid=notes.get(UID, ""),
        run=int(notes.get(RUN, "1")),
        created=_time(found["metadata"]["creationTimestamp"]),
        deleting=_deleting(found),
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        node=spec.get("nodeName", ""),
        ip=status.get("podIP", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        gpus=_gpus(spec),
        grace=int(spec.get("terminationGracePeriodSeconds", 30)),
        bounded="activeDeadlineSeconds" in spec,
        health_path=notes.get(HEALTH_PATH, ""),
        waiting=_waiting(waiting.get("reason", ""), waiting.get("message", ""), old),
        running_since=_started(state) if running is not None else None,
        ended=ended,
        last_end=last_end,
        started=max(begun, default=None),
        restarts=container.get("restartCount", 0),
        failed_pulls=_failed_pulls(waiting.get("reason", ""), old),
        digest=notes.get(DIGEST, ""),
    )


def node_record(found: Manifest, old: NodeRecord | None) -> NodeRecord:
    name, version, _ = _head(found)
    return NodeRecord(name, version, int(found.get("status", {}).get("allocatable", {}).get(GPU, 0)))


def event_record(found: Manifest, old: EventRecord | None) -> EventRecord:
    name, version, _ = _head(found)
    return EventRecord(name, version, found["involvedObject"]["uid"], found.get("message", ""))


def _waiting(reason: str, message: str, old: PodRecord | None) -> tuple[str, str]:
    """While the node backs off it does not repeat what went wrong, so that is remembered."""
    if reason == "ImagePullBackOff" and old is not None and old.waiting[0] in (_PULL_FAILED, reason):
        message = old.waiting[1]
    return reason, message


def _failed_pulls(reason: str, old: PodRecord | None) -> int:
    """The node tries, backs off, and tries again: each time that it comes back to the error is a try."""
    before = old.failed_pulls if old else 0
    return before + (reason == _PULL_FAILED and (old is None or old.waiting[0] != _PULL_FAILED))


def _head(found: Manifest) -> tuple[str, int, str]:
    metadata = found["metadata"]
    return metadata["name"], version_of(found), metadata["uid"]


def _annotations(found: Manifest) -> dict[str, str]:
    return found.get("metadata", {}).get("annotations") or {}


def _gpus(pod: Manifest) -> int:
    return int(pod["containers"][0].get("resources", {}).get("limits", {}).get(GPU, 0))


def _deleting(found: Manifest) -> bool:
    return "deletionTimestamp" in found["metadata"]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _started(state: dict[str, Any]) -> datetime | None:
    """A container that could not be started has an end, but its times are those of nothing."""
    for key in ("running", "terminated"):
        if (text := (state.get(key) or {}).get("startedAt")) is not None:
            return _time(text)
    return None


def _ended(state: dict[str, Any]) -> Ended | None:
    found = state.get("terminated")
    if found is None:
        return None
    at = _time(found["finishedAt"]) if found.get("finishedAt") else datetime.now(UTC)
    return Ended(found.get("reason", ""), found["exitCode"], found.get("signal") or 0, found.get("message", ""), at)


def _stop(text: str) -> Stop | None:
    """None for an annotation that somebody else wrote."""
    try:
        found = json.loads(text)
        return Stop(str(found["reason"]), str(found["message"]), datetime.fromisoformat(found["at"]))
    except (ValueError, TypeError, KeyError):
        return None
