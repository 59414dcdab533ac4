"""How an attempt ended, in a stable word and a sentence: what the program said, else what its witness saw."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.core.conditions import Termination, TerminationReason
from app.runtimes.local.attempt import Attempt, Life

STOPPED = "Stopped"
LONGEST_MESSAGE = 1000
LAST_BYTES = 8192


def termination_of(attempt: Attempt, *, stop_wished: bool) -> Termination:
    """For an attempt that is ENDED or LOST. `stop_wished`: a user, not the platform, wanted it to end."""
    if attempt.life is Life.LOST or attempt.end is None:
        return Termination(TerminationReason.LOST, None, None, _loss(attempt), datetime.now(UTC))
    end = attempt.end
    reason, message = _verdict(attempt, end) or _own_words(attempt) or _seen(attempt, end, stop_wished)
    return Termination(reason, end["exit_code"], end["signal"], message, datetime.fromtimestamp(end["at"], UTC))


def never_ran(reason: str, message: str) -> Termination:
    return Termination(reason, None, None, message, datetime.now(UTC))


def _loss(attempt: Attempt) -> str:
    if attempt.rebooted:
        return "The machine restarted while it ran."
    return "Its witness was killed, and the program with it, so its exit code is not known."


def _verdict(attempt: Attempt, end: Mapping[str, Any]) -> tuple[str, str] | None:
    """What was done in time is done, also when its deadline passed meanwhile."""
    verdict = attempt.verdict
    if verdict and verdict["reason"] == TerminationReason.DEADLINE_EXCEEDED and end["exit_code"] == 0:
        return None
    return (verdict["reason"], verdict["message"]) if verdict else None


def _own_words(attempt: Attempt) -> tuple[str, str] | None:
    """The last line of the termination log, if it is the JSON object that was agreed upon."""
    line = last_line(attempt.folder / "termination")
    try:
        said = json.loads(line)
        reason, message = said["reason"], said["message"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(reason, str) or not isinstance(message, str) or not _WORD.fullmatch(reason):
        return None
    return reason, _clean(message)


def _seen(attempt: Attempt, end: Mapping[str, Any], stop_wished: bool) -> tuple[str, str]:
    killed = end["signal"] == "SIGKILL" or end["exit_code"] == 137
    if end["exit_code"] == 0:
        return TerminationReason.COMPLETED, "It ended by itself with exit code 0."
    if end["asked"]:
        reason = STOPPED if stop_wished else TerminationReason.INTERRUPTED
        return reason, _stopped("It was stopped" if stop_wished else "The platform was stopped while it ran", end)
    if killed and end["oom"]:
        return TerminationReason.OUT_OF_MEMORY, "The kernel killed it because the machine ran out of memory."
    how = f"It was ended by {end['signal']}" if end["signal"] else f"It ended with exit code {end['exit_code']}"
    last_words = last_line(attempt.slot.log, attempt.launch.get("log_offset", 0))
    return TerminationReason.CRASHED, _clean(
        f"{how}. The last line of its log: {last_words}" if last_words else f"{how}."
    )


def _stopped(what: str, end: Mapping[str, Any]) -> str:
    *gentle, last = end["sent"] or ["SIGKILL"]
    if last == "SIGKILL" and gentle:
        return f"{what}; it did not end upon {' and '.join(gentle)}, so it was killed."
    return f"{what}."


def last_line(path: Path, start: int = 0) -> str:
    """The last line that is not empty behind `start`, of a file's last 8 KiB; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start, size - LAST_BYTES))
            lines = [line for line in file.read(LAST_BYTES).splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1].decode(errors="replace") if lines else ""


def _clean(message: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", message).strip()[:LONGEST_MESSAGE]


_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
