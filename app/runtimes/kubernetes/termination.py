"""How a container ended, in a stable word and a sentence: what the node knows better, else what the program said."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace

from app.core.conditions import Termination, TerminationReason
from app.runtimes.kubernetes.records import Ended, PodRecord, Stop

_NO_WORDS_OF_ITS_OWN = (TerminationReason.DEADLINE_EXCEEDED, TerminationReason.NODE_LOST)
_LONGEST = 1000
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")


def of_container(end: Ended, stop: Stop | None = None) -> Termination:
    reason, message = _out_of_memory(end) or _last_word(end, stop) or _own_words(end.message) or _seen(end, stop)
    return Termination(reason, end.exit_code, _signal(end), message, end.at)


def of_pod(pod: PodRecord, stop: Stop | None) -> Termination:
    """For a pod that is over. The cluster's own hand comes before the exit code that it caused."""
    if pod.reason in (TerminationReason.EVICTED, TerminationReason.NODE_LOST):
        at = pod.ended.at if pod.ended else pod.started or pod.created
        return Termination(pod.reason, pod.ended.exit_code if pod.ended else None, None, clean(pod.message), at)
    if pod.ended is not None:
        return _disrupted(pod, of_container(pod.ended, stop))
    if stop is not None:
        return by_order(stop)
    message = clean(pod.message) or "Its pod failed before its program began."
    return Termination(pod.reason or TerminationReason.CRASHED, None, None, message, pod.started or pod.created)


def _disrupted(pod: PodRecord, end: Termination) -> Termination:
    """What was killed because its pod had to go did not crash; what left words of its own keeps them."""
    if not pod.disrupted or end.reason != TerminationReason.CRASHED:
        return end
    return replace(end, reason=TerminationReason.EVICTED, message=clean(f"Its pod had to go: {pod.disrupted}"))


def by_order(stop: Stop) -> Termination:
    """For a job whose container never began, or of whose container nothing more is heard."""
    return Termination(stop.reason, None, None, stop.message, stop.at)


def _out_of_memory(end: Ended) -> tuple[str, str] | None:
    if end.reason != TerminationReason.OUT_OF_MEMORY:
        return None
    return TerminationReason.OUT_OF_MEMORY, "The kernel killed it because it used more memory than its limit."


def _last_word(end: Ended, stop: Stop | None) -> tuple[str, str] | None:
    """A job that ran for too long would say that it was interrupted, and be run again."""
    if stop is None or stop.reason not in _NO_WORDS_OF_ITS_OWN or end.exit_code == 0:
        return None
    return stop.reason, stop.message


def _own_words(text: str) -> tuple[str, str] | None:
    """The last line of the termination message, if it is the JSON object that was agreed upon."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        said = json.loads(lines[-1])
        reason, message = said["reason"], said["message"]
    except (ValueError, TypeError, KeyError, IndexError):
        return None
    if not isinstance(reason, str) or not isinstance(message, str) or not _WORD.fullmatch(reason):
        return None
    return reason, clean(message)


def _seen(end: Ended, stop: Stop | None) -> tuple[str, str]:
    if end.exit_code == 0:
        return TerminationReason.COMPLETED, "It ended by itself with exit code 0."
    if stop is not None:
        return stop.reason, stop.message
    if end.reason in ("ContainerCannotRun", "StartError"):
        return TerminationReason.CRASHED, clean(f"Its program could not be started: {end.message}")
    name = _signal(end)
    how = f"It was ended by {name}." if name else f"It ended with exit code {end.exit_code}."
    return TerminationReason.CRASHED, clean(f"{how} {end.message}")


def _signal(end: Ended) -> str | None:
    number = end.signal or (end.exit_code - 128 if end.exit_code > 128 else 0)
    try:
        return signal.Signals(number).name
    except ValueError:
        return None


def clean(message: str) -> str:
    """In one line, without what takes hold of a terminal or turns the direction of what stands beside it."""
    return _UNSEEN.sub(" ", message).strip()[:_LONGEST]
