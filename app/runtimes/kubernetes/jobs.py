"""What the records of one job mean: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.core.conditions import Termination, TerminationReason
from app.runtimes.base import JobObservation, ProcessState, ran_too_long
from app.runtimes.kubernetes.places import (
    Why,
    pull_is_hopeless,
    why_no_pod,
    why_queued,
    why_waiting,
    will_never_begin,
)
from app.runtimes.kubernetes.records import JobRecord, PodRecord, Stop
from app.runtimes.kubernetes.shortage import Room
from app.runtimes.kubernetes.termination import by_order, of_pod

_LAST_WORD = timedelta(seconds=5)
_STOPPING = Why(ProcessState.STOPPING, "Stopped", "It was told to stop and has not ended yet.")


def observe(
    name: str, job: JobRecord | None, pods: Sequence[PodRecord], complaint: str, room: Room, now: datetime
) -> JobObservation | None:
    """`pods` are those of all runs, the oldest first. Without a Job its last pod stands for it: it is run again, or
    somebody deleted the Job and left the pod."""
    run = job.run if job else max((pod.run for pod in pods), default=0)
    pod = next((pod for pod in reversed(pods) if pod.run == run), None)
    if job is None:
        return _of_pod(name, pod, None, room, now) if pod else None
    if pod is not None:
        seen = _of_pod(name, pod, job.stop, room, now)
        going = job.deleting or job.stop is not None
    else:
        seen, going = _without_pod(job, complaint), job.deleting
    return _with(seen, _STOPPING) if going and seen.state is not ProcessState.EXITED else seen


def _of_pod(name: str, pod: PodRecord, stop: Stop | None, room: Room, now: datetime) -> JobObservation:
    seen = JobObservation(name, pod.uid, ProcessState.RUNNING, started_at=pod.started, notes=_notes(pod))
    if stop is not None and stop.reason == TerminationReason.NODE_LOST and pod.silent_since:
        return _ended(seen, by_order(stop))
    if pod.is_over or _was_left_out(pod, stop, now):
        return _ended(seen, of_pod(pod, stop))
    if stop is not None and will_never_begin(pod):
        return _ended(seen, by_order(stop))
    if pod.deleting or pod.bounded:
        return _with(seen, _STOPPING)
    return seen if pod.has_begun else _with(seen, why_waiting(pod, room))


def _notes(pod: PodRecord) -> tuple[str, ...]:
    if pod.silent_since is None or pod.is_over:
        return ()
    since = f"{pod.silent_since:%H:%M:%S} UTC"
    return (f"Its node {pod.node} has not been heard of since {since}; it may still run there.",)


def _was_left_out(pod: PodRecord, stop: Stop | None, now: datetime) -> bool:
    """A kubelet before 1.22 may call a pod failed at its deadline and never tell how its container ended."""
    return pod.is_final and stop is not None and now - stop.at > timedelta(seconds=pod.grace) + _LAST_WORD


def _without_pod(job: JobRecord, complaint: str) -> JobObservation:
    seen = JobObservation(job.name, job.uid, ProcessState.WAITING)
    if job.stop is not None and job.held:
        return _ended(seen, by_order(job.stop))
    if job.failed:
        message = f"Its pod was removed before its end could be seen. The cluster says: {job.failed}"
        return _ended(seen, Termination(TerminationReason.LOST, None, None, message, job.created))
    if job.stop is not None:
        return _with(seen, _STOPPING)
    return _with(seen, why_queued(job.queue) if job.queue else why_no_pod(complaint))


def _with(seen: JobObservation, why: Why) -> JobObservation:
    return replace(seen, state=why.state, reason=why.reason, message=why.message)


def _ended(seen: JobObservation, end: Termination) -> JobObservation:
    return replace(seen, state=ProcessState.EXITED, reason=end.reason, message=end.message, termination=end)


def must_end(
    job: JobRecord, pods: Sequence[PodRecord], seen: JobObservation, now: datetime, node_patience: float
) -> Stop | None:
    """Why the job of these pods shall end, though nobody told it to; None if it may go on.

    A node that went silent is patiently waited for, also with a job that was told to stop. Then the job counts as
    ended; should the node come back, it stops what it still runs of it, for the Stop is written on the Job.
    """
    pods = [pod for pod in pods if pod.run == job.run]
    if stop := _lost_node(job, pods, seen, now, node_patience):
        return stop
    if job.stop is not None:
        return None
    if seen.state is ProcessState.RUNNING:
        late = seen.started_at is not None and now - seen.started_at > _span(job.run_deadline)
        return Stop(TerminationReason.DEADLINE_EXCEEDED, ran_too_long(job.run_deadline), now) if late else None
    if seen.state not in (ProcessState.WAITING, ProcessState.STARTING) or job.queue:
        return None  # how long a queue is, is its own affair
    if any(pull_is_hopeless(pod) for pod in pods):
        return Stop(seen.reason, seen.message, now)
    if now - job.since > _span(job.start_deadline):
        late_words = f"It did not start within {job.start_deadline:g} s. {seen.message}"
        return Stop(TerminationReason.DEADLINE_EXCEEDED, late_words, now)
    return None


def _lost_node(
    job: JobRecord, pods: Sequence[PodRecord], seen: JobObservation, now: datetime, patience: float
) -> Stop | None:
    silent = [pod for pod in pods if pod.silent_since is not None and not pod.is_over]
    if not silent or seen.state is ProcessState.EXITED or (job.stop and job.stop.reason == TerminationReason.NODE_LOST):
        return None
    since = min(pod.silent_since for pod in silent if pod.silent_since)
    if now - since <= timedelta(seconds=patience):
        return None
    words = f"Its node {silent[0].node} has not been heard of since {since:%Y-%m-%d %H:%M:%S} UTC."
    return Stop(TerminationReason.NODE_LOST, f"{words} Should it come back, what still runs there is stopped.", now)


def _span(seconds: float) -> timedelta:
    return timedelta.max if math.isinf(seconds) else timedelta(seconds=seconds)
