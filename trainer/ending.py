"""Endings: how the trainer's process ends, as an exit code, a stable word and one sentence for a person."""

from __future__ import annotations

import errno
import json
import logging
import traceback
from dataclasses import dataclass
from pathlib import Path

from trainer.contract import LetterUnreadable
from trainer.families.base import DataUnreadable, TrainingFailed
from trainer.interruption import Interrupted

log = logging.getLogger(__name__)


class TrackingUnavailable(Exception):  # noqa: N818
    """MLflow did not answer for as long as the letter allows, or refused; the sentence says what was tried."""


@dataclass(frozen=True, slots=True)
class Ending:
    """`reason` is a stable word for programs; `message` one sentence for people, the last line of the log."""

    reason: str
    exit_code: int
    message: str

    @classmethod
    def completed(cls, message: str) -> Ending:
        return cls("Completed", 0, message)

    @classmethod
    def of(cls, error: BaseException) -> Ending:
        for type_, reason, exit_code in _ENDINGS:
            if isinstance(error, type_):
                return cls(reason, exit_code, _sentence(error))
        return cls("Crashed", 1, _crash_sentence(error))

    def announce(self, termination_log: str) -> int:
        """Write the sentence to the log and the ending to `termination_log`; the exit code."""
        self.write(termination_log)
        log.info("%s", self.message)
        return self.exit_code

    def write(self, termination_log: str) -> None:
        """Write reason and message as one line of JSON to the file, if one is named and it can be written."""
        if not termination_log:
            return
        try:
            Path(termination_log).parent.mkdir(parents=True, exist_ok=True)
            Path(termination_log).write_text(self.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            log.info("The termination log %s cannot be written: %s", termination_log, error.strerror)

    def to_json(self) -> str:
        return json.dumps({"reason": self.reason, "message": self.message})


_ENDINGS: tuple[tuple[type[BaseException], str, int], ...] = (
    (LetterUnreadable, "LetterUnreadable", 2),
    (DataUnreadable, "DataUnreadable", 3),
    (Interrupted, "Interrupted", 1),
    (TrackingUnavailable, "TrackingUnavailable", 1),
    (TrainingFailed, "Crashed", 1),
    (MemoryError, "OOMKilled", 1),
)

EXPECTED: tuple[type[BaseException], ...] = (*(type_ for type_, *_ in _ENDINGS), OSError, ImportError)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "Training ran out of memory. Give the profile more, or use a smaller dataset or model."
    return " ".join(str(error).split())


def _crash_sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"The disk of the work folder is full ({error.filename or 'no file named'}). Free some space and try again."
        )
    if isinstance(error, ModuleNotFoundError):
        return f"This profile needs the Python package {error.name}, which is not installed here."
    log.info("%s", "".join(traceback.format_exception(error)).rstrip())
    return f"The trainer failed by a mistake of its own: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
