"""What the records of one job mean: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from app.core.conditions import Termination, TerminationReason
from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.kubernetes.places import Gpus, Why, pull_is_hopeless, why_no_pod, why_waiting, will_never_begin
from app.runtimes.kubernetes.records import JobRecord, PodRecord, Stop
from app.runtimes.kubernetes.termination import never_ran, of_pod

_LAST_WORD = timedelta(seconds=5)
_STOPPING = Why(ProcessState.STOPPING, "Stopped", "It was told to stop and has not ended yet.")


def observe(
    name: str, job: JobRecord | None, pods: Sequence[PodRecord], complaint: str, gpus: Gpus, now: datetime
) -> JobObservation | None:
    """`pods` are those of all runs, the oldest first. Without a Job its last pod stands for it: it is run again, or
    somebody deleted the Job and left the pod."""
    run = job.run if job else max((pod.run for pod in pods), default=0)
    pod = next((pod for pod in reversed(pods) if pod.run == run), None)
    if job is None:
        return _of_pod(name, pod, None, gpus, now) if pod else None
    if pod is not None:
        seen = _of_pod(name, pod, job.stop, gpus, now)
        going = job.deleting or job.stop is not None
    else:
        seen, going = _without_pod(job, complaint), job.deleting
    return _with(seen, _STOPPING) if going and seen.state is not ProcessState.EXITED else seen


def _of_pod(name: str, pod: PodRecord, stop: Stop | None, gpus: Gpus, now: datetime) -> JobObservation:
    seen = JobObservation(name, pod.uid, ProcessState.RUNNING, started_at=pod.started)
    if pod.is_over or _was_left_out(pod, stop, now):
        return _ended(seen, of_pod(pod, stop))
    if stop is not None and will_never_begin(pod):
        return _ended(seen, never_ran(stop))
    if pod.deleting or pod.bounded:
        return _with(seen, _STOPPING)
    return seen if pod.has_begun else _with(seen, why_waiting(pod, gpus))


def _was_left_out(pod: PodRecord, stop: Stop | None, now: datetime) -> bool:
    """A kubelet before 1.22 may call a pod failed at its deadline and never tell how its container ended."""
    return pod.is_final and stop is not None and now - stop.at > timedelta(seconds=pod.grace) + _LAST_WORD


def _without_pod(job: JobRecord, complaint: str) -> JobObservation:
    seen = JobObservation(job.name, job.uid, ProcessState.WAITING)
    if job.stop is not None and job.held:
        return _ended(seen, never_ran(job.stop))
    if job.failed:
        message = f"Its pod was removed before its end could be seen. The cluster says: {job.failed}"
        return _ended(seen, Termination(TerminationReason.LOST, None, None, message, job.created))
    return _with(seen, _STOPPING if job.stop is not None else why_no_pod(complaint))


def _with(seen: JobObservation, why: Why) -> JobObservation:
    return replace(seen, state=why.state, reason=why.reason, message=why.message)


def _ended(seen: JobObservation, end: Termination) -> JobObservation:
    return replace(seen, state=ProcessState.EXITED, reason=end.reason, message=end.message, termination=end)


def must_end(job: JobRecord, pods: Sequence[PodRecord], seen: JobObservation, now: datetime) -> Stop | None:
    """Why a job that nobody told to stop shall end before it began; None if it may go on waiting."""
    if job.stop is not None or seen.state not in (ProcessState.WAITING, ProcessState.STARTING):
        return None
    if any(pull_is_hopeless(pod) for pod in pods if pod.run == job.run):
        return Stop(seen.reason, seen.message, now)
    if now - job.created > timedelta(seconds=job.start_deadline):
        late = f"It did not start within {job.start_deadline:g} s. {seen.message}"
        return Stop(TerminationReason.DEADLINE_EXCEEDED, late, now)
    return None
