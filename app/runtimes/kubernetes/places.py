"""Why a pod does not run yet, in a stable word and a sentence."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.runtimes.base import ProcessState
from app.runtimes.kubernetes.records import PodRecord
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


class Why(NamedTuple):
    state: ProcessState
    reason: str
    message: str


class Gpus(NamedTuple):
    """`total` is None where the nodes may not be seen."""

    total: int | None
    used: int

    def has(self, asked: int) -> bool:
        """Whether so many are free now; what may not be seen is taken for free, as the scheduler will tell."""
        return not asked or self.total is None or self.total - self.used >= asked

    def words(self, asked: int) -> str:
        if not asked or self.total is None:
            return ""
        free = max(0, self.total - self.used)
        return f"It asks for {asked} GPU{'s' if asked > 1 else ''}; {free} of {self.total} are free. "


def why_waiting(pod: PodRecord, gpus: Gpus) -> Why:
    """For a pod whose container has not begun."""
    reason, message = pod.waiting
    if pod.unschedulable:
        said = f"{gpus.words(pod.gpus)}The scheduler says: {pod.unschedulable}"
        return Why(ProcessState.WAITING, UNSCHEDULABLE, clean(said))
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
    return Why(ProcessState.WAITING, reason, clean(f"The cluster makes no pod for it: {complaint}"))
