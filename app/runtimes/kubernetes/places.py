"""Why a pod does not run yet, in a stable word and a sentence."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.runtimes.base import ProcessState
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.shortage import Room, words
from app.runtimes.kubernetes.termination import clean

PULL_TRIES = 3
UNSCHEDULABLE, PULL_FAILED, CONFIG_MISSING, QUOTA_EXCEEDED = (
    "Unschedulable", "ImagePullFailed", "ConfigMissing", "QuotaExceeded"
)  # fmt: skip
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError")
_PERMANENT = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|authorization failed|denied|forbidden"
    r"|invalid reference|InvalidImageName|pull policy is Never",
    re.IGNORECASE,
)
_NO_CLAIM = re.compile(r'persistentvolumeclaim "([^"]*)" not found')
_NO_CLASS = re.compile(r'RuntimeClass "[^"]*" not found')


class Why(NamedTuple):
    state: ProcessState
    reason: str
    message: str


def why_waiting(pod: PodRecord, room: Room) -> Why:
    """For a pod whose container has not begun."""
    reason, message = pod.waiting
    if found := _NO_CLAIM.search(pod.unschedulable):
        return Why(ProcessState.WAITING, CONFIG_MISSING, clean(f"The volume claim {found[1]} is not there."))
    if pod.unschedulable:
        return Why(ProcessState.WAITING, UNSCHEDULABLE, clean(words(pod, room)))
    if not pod.node:
        return Why(ProcessState.WAITING, "Scheduling", "It waits for its place.")
    if reason in _PULL:
        said = f"Its image cannot be pulled ({pod.failed_pulls} tries seen): {message or reason}"
        return Why(ProcessState.STARTING, PULL_FAILED, clean(said))
    if reason in _CONFIG:
        return Why(ProcessState.STARTING, CONFIG_MISSING, clean(f"Its container cannot be made: {message}"))
    return Why(ProcessState.STARTING, "Starting", "Its image is being fetched, or its container is being made.")


def pull_is_hopeless(pod: PodRecord) -> bool:
    """Enough tries, and a cause that another one will not mend."""
    reason, message = pod.waiting
    return (
        reason in _PULL and _PERMANENT.search(f"{reason} {message}") is not None and pod.failed_pulls >= PULL_TRIES
    ) or reason in ("InvalidImageName", "ErrImageNeverPull")


def will_never_begin(pod: PodRecord) -> bool:
    """It is being deleted and lacks what its container is made of. A node may take a minute to let go of such a pod."""
    return pod.deleting and not pod.has_begun and pod.waiting[0] in (*_PULL, *_CONFIG)


def why_no_pod(complaint: str) -> Why:
    """For a job or server of which the cluster has made no pod; `complaint` is its last word on it."""
    if not complaint:
        return Why(ProcessState.WAITING, "Accepted", "It was accepted just now.")
    reason = QUOTA_EXCEEDED if "exceeded quota" in complaint else "PodRefused"
    if _NO_CLASS.search(complaint):
        reason = CONFIG_MISSING
    return Why(ProcessState.WAITING, reason, clean(f"The cluster makes no pod for it: {complaint}"))


def why_queued(queue: str) -> Why:
    """For a job that is suspended until its queue admits it."""
    return Why(ProcessState.WAITING, "Queued", f"It waits in the queue {queue} until Kueue admits it.")
