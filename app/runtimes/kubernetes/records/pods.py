"""Pods, each with its one container."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.runtimes.kubernetes.manifests import CONTAINER, DIGEST, GPU, HEALTH_PATH, INSTANCE, RUN, UID, Manifest
from app.runtimes.kubernetes.records.fields import cpu_of, head, is_deleting, memory_of, moment, notes_of

_PULL_FAILED = "ErrImagePull"


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
    """One pod and its one container. `failed_pulls` counts the failures to pull its image that were seen.

    `silent_since` is when the cluster lost sight of its node: it then calls the pod unready, and leaves the container
    as it was last told. So we need not be allowed to see nodes. `disrupted` says why the cluster took the pod away.
    """

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
    cpu: int
    memory: int
    selector: tuple[tuple[str, str], ...]  # what its node must be labelled with
    owned: bool
    silent_since: datetime | None
    disrupted: str
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


def pod_record(found: Manifest, old: PodRecord | None) -> PodRecord:
    notes, status, spec = notes_of(found), found.get("status", {}), found["spec"]
    container: dict[str, Any] = next(
        (one for one in status.get("containerStatuses") or [] if one["name"] == CONTAINER), {}
    )
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting, running = state.get("waiting") or {}, state.get("running")
    ended, last_end = _ended(state), _ended(last)
    begun = [at for at in (_started(state), _started(last)) if at is not None]
    conditions = {one["type"]: one for one in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    amounts = spec["containers"][0].get("resources", {}).get("limits", {})
    name, version, _ = head(found)
    return PodRecord(
        name=name,
        version=version,
        task=found["metadata"].get("labels", {}).get(INSTANCE, ""),
        uid=notes.get(UID, ""),
        run=int(notes.get(RUN, "1")),
        created=moment(found["metadata"]["creationTimestamp"]),
        deleting=is_deleting(found),
        phase=status.get("phase", ""),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        node=spec.get("nodeName", ""),
        ip=status.get("podIP", ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        gpus=int(amounts.get(GPU, 0)),
        cpu=cpu_of(amounts),
        memory=memory_of(amounts),
        selector=tuple(spec.get("nodeSelector", {}).items()),
        owned=bool(found["metadata"].get("ownerReferences")),
        silent_since=_silent_since(conditions),
        disrupted=_disruption(conditions),
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


def _silent_since(conditions: dict[str, dict[str, Any]]) -> datetime | None:
    """A kubelet never calls a pod unready whose containers it calls ready: no pod of ours has other gates."""
    ready, containers = conditions.get("Ready", {}), conditions.get("ContainersReady", {})
    if ready.get("status") != "False" or containers.get("status") != "True":
        return None
    return moment(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else None


def _disruption(conditions: dict[str, dict[str, Any]]) -> str:
    found = conditions.get("DisruptionTarget", {})
    return found.get("message") or found.get("reason", "") if found.get("status") == "True" else ""


def _waiting(reason: str, message: str, old: PodRecord | None) -> tuple[str, str]:
    """While the node backs off it does not repeat what went wrong, so that is remembered."""
    if reason == "ImagePullBackOff" and old is not None and old.waiting[0] in (_PULL_FAILED, reason):
        message = old.waiting[1]
    return reason, message


def _failed_pulls(reason: str, old: PodRecord | None) -> int:
    """The node tries, backs off, and tries again: each time that it comes back to the error is a try."""
    before = old.failed_pulls if old else 0
    return before + (reason == _PULL_FAILED and (old is None or old.waiting[0] != _PULL_FAILED))


def _started(state: dict[str, Any]) -> datetime | None:
    """A container that could not be started has an end, but its times are those of nothing."""
    for key in ("running", "terminated"):
        if (text := (state.get(key) or {}).get("startedAt")) is not None:
            return moment(text)
    return None


def _ended(state: dict[str, Any]) -> Ended | None:
    found = state.get("terminated")
    if found is None:
        return None
    at = moment(found["finishedAt"]) if found.get("finishedAt") else datetime.now(UTC)
    return Ended(found.get("reason", ""), found["exitCode"], found.get("signal") or 0, found.get("message", ""), at)
