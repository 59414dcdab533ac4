"""The trainer's front door: a letter comes in, an exit code and a sentence go out."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.contract import LetterUnreadable, TrainerInput
from trainer.ending import EXPECTED, Ending
from trainer.families.base import FAMILIES
from trainer.interruption import Interrupted, Interruption

_JOB_UID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DESCRIPTION = """Train one model: read the data, fit, log metrics and model to MLflow, register it.

The letter is one JSON object; its fields are those of trainer.contract.TrainerInput.
Exit codes: 0 done, 2 the letter was unreadable, 3 the data or the initial model was, 1 anything else."""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Train what the letter says; the exit code. The last line of the log is a sentence that says how it ended.

    What is not expected goes to `sys.excepthook`, which is set to end the process in the same way.
    """
    file = _parser().parse_args(arguments).letter
    _log_to_stdout()
    termination_log = ""
    try:
        text = _letter_text(file, environment)
        termination_log = _termination_log(text)
        sys.excepthook = lambda _type, error, _trace: os._exit(Ending.of(error).announce(termination_log))
        letter = _checked(TrainerInput.from_json(text))
        interruption = Interruption(at_once=lambda: _at_once().write(termination_log))
        interruption.install()
        from trainer.run import train  # only now: it takes a while to import

        ending = Ending.completed(train(letter, interruption))
    except EXPECTED as error:
        ending = Ending.of(error)
    return ending.announce(termination_log)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    instead = f"a file with the letter; without it, the environment variable {TrainerInput.VARIABLE} is read"
    parser.add_argument("letter", nargs="?", type=Path, help=instead)
    return parser


def _log_to_stdout() -> None:
    formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("trainer").setLevel(logging.INFO)


def _letter_text(file: Path | None, environment: Mapping[str, str]) -> str:
    if file is None:
        if TrainerInput.VARIABLE not in environment:
            raise LetterUnreadable(f"The environment variable {TrainerInput.VARIABLE} is not set.")
        return environment[TrainerInput.VARIABLE]
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LetterUnreadable(f"The letter {file} cannot be read: {getattr(error, 'strerror', error)}.") from error


def _termination_log(text: str) -> str:
    """Where the ending is to be written, even if the letter has other faults."""
    try:
        found = json.loads(text)["termination_log"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _checked(letter: TrainerInput) -> TrainerInput:
    if letter.family not in FAMILIES:
        raise LetterUnreadable(f"There is no model family {letter.family!r}; known are {', '.join(FAMILIES)}.")
    if not _JOB_UID.fullmatch(letter.job_uid):
        raise LetterUnreadable("job_uid must be 1 to 128 letters, digits, dots, dashes or underscores.")
    for name in ("task_id", "experiment_name", "model_name", "dataset_path", "tracking_uri", "work_dir"):
        if not getattr(letter, name):
            raise LetterUnreadable(f"{name} is empty.")
    return letter


def _at_once() -> Ending:
    return Ending.of(Interrupted("Stopped at once, by a second signal; the same task resumes from what was kept."))
