"""Jobs for tests: the trainer as a process, told by a letter in its environment, watched through its log."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.contract import TrainerInput

SECONDS = 90

HYPERPARAMETERS: dict[str, Any] = {
    "numEpoch": 5,
    "learningRate": 0.001,
    "numBatch": 32,
    "hiddenUnits": 8,
    "targetColumn": "",
    "testFraction": 0.2,
    "seed": 0,
}


@dataclass(frozen=True)
class Ended:
    """How a start of a job ended; `lines` are those of this start, without their times."""

    exit_code: int
    lines: list[str]
    reason: str
    message: str


class Job:
    """One job, which may be started several times, one after the other, in the same work folder."""

    def __init__(self, folder: Path, uid: str, dataset: str, tracking_uri: str, **fields: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.work_dir = folder / "work"
        self.termination_log = folder / "termination"
        self.log = folder / "log"
        self.environment: dict[str, str] = {}
        hyperparameters = {**HYPERPARAMETERS, **fields.pop("hyperparameters", {})}
        family = fields.pop("family", "tabular_regression")
        defaults: dict[str, Any] = {
            "task_id": f"task-{uid}",
            "job_uid": uid,
            "experiment_name": "trainer-tests",
            "profile": family,
            "family": family,
            "model_name": f"model-{uid}",
            "dataset_path": dataset,
            "tracking_uri": tracking_uri,
            "work_dir": str(self.work_dir),
            "termination_log": str(self.termination_log),
            "tracking_patience_seconds": 30,
        }
        self.letter = TrainerInput(hyperparameters=hyperparameters, **{**defaults, **fields})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Job:
        self.log.unlink(missing_ok=True)
        self.termination_log.unlink(missing_ok=True)
        environment = {**os.environ, **self.letter.to_env(), "OMP_NUM_THREADS": "1", **self.environment}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trainer"], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def run(self) -> Ended:
        return self.start().ended()

    def await_line(self, pattern: str) -> str:
        """The first line of the log that matches, once it is there."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = next((line for line in self._lines() if re.search(pattern, line)), None)
            if found is not None:
                return found
            assert self._running().poll() is None, f"ended without a line {pattern!r}: {self._lines()}"
            time.sleep(0.01)
        raise AssertionError(f"no line {pattern!r} in {self._lines()}")

    def signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def ended(self) -> Ended:
        exit_code = self._running().wait(SECONDS)
        told = self.termination_log.read_text() if self.termination_log.exists() else "{}"
        ending = json.loads(told)
        return Ended(exit_code, self._lines(), ending.get("reason", ""), ending.get("message", ""))

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    def _lines(self) -> list[str]:
        return [re.sub(r"^\S+Z ", "", line) for line in self.log.read_text(errors="replace").splitlines()]
