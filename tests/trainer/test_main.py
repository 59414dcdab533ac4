"""The front door: letters that cannot be read, and how the process ends then."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.conditions import TerminationReason
from tests.trainer.jobs import Job
from tests.trainer.tables import linear
from trainer.contract import LetterUnreadable, TrainerInput
from trainer.ending import Ending, TrackingUnavailable
from trainer.families.base import DataUnreadable, TrainingFailed
from trainer.interruption import Interrupted


@pytest.fixture
def one(tmp_path: Path) -> Job:
    """A job that needs no MLflow, because it never comes so far."""
    return Job(tmp_path / "job", "uid", str(tmp_path / "data.csv"), "http://127.0.0.1:1", tracking_patience_seconds=0)


def trainer(*arguments: str, letter: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != TrainerInput.VARIABLE}
    if letter is not None:
        environment[TrainerInput.VARIABLE] = letter
    command = [sys.executable, "-m", "trainer", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_every_reason_is_a_word_that_the_platform_knows() -> None:
    errors = (
        LetterUnreadable(),
        DataUnreadable(),
        TrainingFailed(),
        TrackingUnavailable(),
        Interrupted(),
        MemoryError(),
    )
    endings = [Ending.completed(""), *(Ending.of(error) for error in (*errors, ZeroDivisionError()))]
    assert {ending.reason for ending in endings} <= set(TerminationReason)
    assert [ending.exit_code for ending in endings] == [0, 2, 3, 1, 1, 1, 1, 1]


def test_a_full_disk_and_a_missing_package_are_named() -> None:
    assert "The disk of the work folder is full" in Ending.of(OSError(errno.ENOSPC, "No space left")).message
    assert "needs the Python package torch" in Ending.of(ModuleNotFoundError(name="torch")).message


def test_help_names_the_exit_codes() -> None:
    told = trainer("--help")
    assert told.returncode == 0
    assert "Exit codes: 0 done, 2 the letter was unreadable" in told.stdout


def test_no_letter_is_exit_code_2() -> None:
    ended = trainer()
    assert ended.returncode == 2
    assert ended.stdout.splitlines()[-1].endswith("The environment variable MLOPS_TRAINER_INPUT is not set.")
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"numEpoch": 1}, "unknown fields: numEpoch"),
        ({"use_gpu": 1}, "use_gpu must be bool, not int"),
        ({"family": "astrology"}, "no model family 'astrology'"),
        ({"job_uid": "a' OR 1=1"}, "job_uid must be"),
        ({"model_name": ""}, "model_name is empty"),
    ],
)
def test_an_unreadable_letter_is_exit_code_2_and_a_sentence_in_log_and_termination(
    one: Job, change: dict[str, object], sentence: str
) -> None:
    letter = json.loads(one.letter.to_env()[TrainerInput.VARIABLE])
    ended = trainer(letter=json.dumps({**letter, **change}))
    told = json.loads(one.termination_log.read_text())
    assert (ended.returncode, told["reason"]) == (2, "LetterUnreadable")
    assert sentence in told["message"]
    assert ended.stdout.splitlines()[-1].endswith(told["message"])


def test_a_letter_may_come_as_a_file(one: Job, tmp_path: Path) -> None:
    letter = tmp_path / "letter.json"
    letter.write_text(one.letter.to_env()[TrainerInput.VARIABLE])
    ended = trainer(str(letter))
    assert (ended.returncode, json.loads(one.termination_log.read_text())) == (
        3,
        {"reason": "DataUnreadable", "message": f"The dataset {tmp_path / 'data.csv'} does not exist."},
    )
    assert trainer(str(tmp_path / "none.json")).returncode == 2


def test_an_empty_dataset_is_exit_code_3(one: Job, tmp_path: Path) -> None:
    (tmp_path / "data.csv").touch()
    ended = one.run()
    assert (ended.exit_code, ended.reason) == (3, "DataUnreadable")
    assert ended.message == f"The dataset {tmp_path / 'data.csv'} is empty." == ended.lines[-1]


def test_without_mlflow_at_the_start_the_job_fails_saying_so(one: Job, tmp_path: Path) -> None:
    linear(tmp_path / "data.csv")
    ended = one.run()
    assert (ended.exit_code, ended.reason) == (1, "TrackingUnavailable")
    assert ended.message.startswith("MLflow at http://127.0.0.1:1 did not answer for 0 s (the run was to be opened).")
    assert ended.message == ended.lines[-1]


def test_a_work_folder_that_cannot_be_made_is_a_crash_with_a_sentence(one: Job, tmp_path: Path) -> None:
    linear(tmp_path / "data.csv")
    one.work_dir.write_text("a file stands in the way")
    ended = one.run()
    assert (ended.exit_code, ended.reason) == (1, "Crashed")
    assert ended.message == ended.lines[-1]
    assert "FileExistsError" in ended.message
