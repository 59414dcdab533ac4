"""The folder of one task's process, and its attempts: what was launched, whether it lives, how it ended."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from app.runtimes.local.files import Shape, is_locked, read_json, write_json
from app.runtimes.local.kernel import ProcessId, boot_id, kill_all_with

MARK = "MODELYARD_ATTEMPT"  # in the environment of the program and of all that it starts
BEYOND_PATIENCE = 5.0
LAUNCH_PAUSE = 1.0


class Life(Enum):
    ABSENT = auto()  # never began: no program has run
    BEGINNING = auto()  # the witness is up, the program is about to be
    RUNNING = auto()
    ENDED = auto()
    LOST = auto()  # it ran, and nobody saw how it ended


class Slot:
    """Where one process lives, attempt after attempt, with one log and one work folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log_index = folder / "log.index"
        self.work = folder / "work"
        self._attempts = folder / "attempts"

    def attempt(self, number: int) -> Attempt:
        return Attempt(self, number, self._attempts / str(number))

    def last_attempt(self) -> Attempt | None:
        try:
            numbers = [int(entry) for entry in os.listdir(self._attempts) if entry.isdigit()]  # noqa: PTH208 - names are all it needs
        except FileNotFoundError:
            return None
        return self.attempt(max(numbers)) if numbers else None

    def forget_before(self, number: int) -> None:
        """Remove the attempts before `number`."""
        for entry in self._attempts.iterdir():
            if entry.name.isdigit() and int(entry.name) < number:
                shutil.rmtree(entry, ignore_errors=True)

    @property
    def log_size(self) -> int:
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0


class Attempt:
    """One launch in a slot. What its files say is read once; `look` asks whether it lives."""

    def __init__(self, slot: Slot, number: int, folder: Path) -> None:
        self.slot, self.number, self.folder = slot, number, folder
        self.alive_lock = folder / "alive"
        self.life = Life.ABSENT
        self.process: Mapping[str, Any] | None = None
        self.end: Mapping[str, Any] | None = None
        self._prepared_at: float | None = None
        self._asked_at: float | None = None

    def prepare(self, **launch: Any) -> None:
        """Write down what will be launched: the GPUs it is given, how long the log is.

        Raises OSError if its witness has just ended before the program began, as with a full disk.
        """
        if self._prepared_at is not None and time.monotonic() - self._prepared_at < LAUNCH_PAUSE:
            raise OSError(errno.EAGAIN, "its witness ended before the program began; its log may say why")
        self._prepared_at = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.slot.work.mkdir(exist_ok=True)
        self.__dict__.pop("launch", None)
        write_json(self.folder / "launch.json", {"log_offset": self.slot.log_size, **launch}, durable=False)

    @cached_property
    def launch(self) -> Mapping[str, Any]:
        return read_json(self.folder / "launch.json", _LAUNCH) or {}

    @property
    def gpus(self) -> tuple[str, ...]:
        return tuple(self.launch.get("gpus", ()))

    @property
    def verdict(self) -> Mapping[str, Any] | None:
        """Why we ended it, where that was not the wish of a user."""
        return read_json(self.folder / "verdict.json", _VERDICT)

    def condemn(self, reason: str, message: str) -> None:
        write_json(self.folder / "verdict.json", {"reason": reason, "message": message})

    @property
    def witness(self) -> ProcessId | None:
        found = self.process
        return ProcessId(found["witness"], found["witness_start"], found["boot"]) if found else None

    @property
    def alive(self) -> bool:
        return self.life in (Life.BEGINNING, Life.RUNNING)

    def look(self) -> Life:
        """Ask the disk and the kernel. The lock is tried first: the end is written before the lock goes."""
        if self.end is None and self.life is not Life.LOST:
            locked = is_locked(self.alive_lock)
            self.process = self.process or read_json(self.folder / "process.json", _PROCESS)
            self.end = read_json(self.folder / "exit.json", _EXIT)
            self.life = self._life(locked)
        return self.life

    def _life(self, locked: bool) -> Life:
        if self.end is not None:
            return Life.ENDED
        if self.witness and not self.witness.alive:  # its program dies with it; what that had started may not
            kill_all_with(MARK, str(self.folder))
        if locked:
            return Life.RUNNING if self.process else Life.BEGINNING
        return Life.LOST if self.process else Life.ABSENT

    @property
    def rebooted(self) -> bool:
        return self.process is not None and self.process["boot"] != boot_id()

    def ask_to_stop(self, patience: float) -> None:
        """Tell the witness to stop its program by its plan; harmless when repeated. One that does not act is killed."""
        if self.witness is None:
            return
        self._asked_at = self._asked_at or time.monotonic()
        if time.monotonic() - self._asked_at > patience + BEYOND_PATIENCE:
            self.witness.signal(signal.SIGKILL)
            kill_all_with(MARK, str(self.folder))
        else:
            self.witness.signal(signal.SIGTERM)

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port that the program wrote; only this machine's own are believed."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = _ADDRESS.fullmatch((self.folder / "address").read_text()[:100].strip())
            if found and 0 < int(found[2]) < 65536:
                return found[1], int(found[2])
        return None


_LAUNCH: Shape = {"log_offset": int, "gpus": list}
_VERDICT: Shape = {"reason": str, "message": str}
_PROCESS: Shape = {"witness": int, "witness_start": int, "boot": str}
_EXIT: Shape = {"exit_code": (int, NoneType), "signal": (str, NoneType), "at": (int, float), "asked": bool}
_ADDRESS = re.compile(r"(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|localhost):(\d{1,5})")
