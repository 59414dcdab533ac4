"""Launching: the command and the environment of a program, and the witness that starts it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.core.specs import JobSpec, Placeholders, Program, Resources, ServerSpec
from app.runtimes.local.attempt import MARK, Attempt, Life
from app.runtimes.local.files import try_lock
from app.runtimes.local.settings import INHERITED, LocalSettings, Patience

WITNESS = Path(__file__).with_name("witness.py")
LISTEN = "127.0.0.1:0"


def own_environment() -> Mapping[str, str]:
    """What this process was started with."""
    return os.environ


class Launcher:
    """`environment` is the gateway's own: of it a program gets what is allowed to all, and the secrets it names."""

    def __init__(self, settings: LocalSettings, environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._models = settings.home / "models"
        self._children = Children()

    def command(self, program: Program) -> list[str]:
        return [str(self._settings.python), "-P", "-m", program.module]

    def visible_environment(
        self, program: Program, resources: Resources, attempt: Attempt, gpus: Sequence[str] = ()
    ) -> dict[str, str]:
        """What the program is told beyond what every program inherits; no secret is in it."""
        told = {name: self._filled(value, attempt) for name, value in program.environment.items()}
        path = os.pathsep.join(filter(None, (told.get("PYTHONPATH"), str(self._settings.code))))
        return {
            **_defaults(resources),
            **told,
            "PYTHONPATH": path,
            "CUDA_VISIBLE_DEVICES": ",".join(gpus),
            MARK: str(attempt.folder),
        }

    def _filled(self, value: str, attempt: Attempt) -> str:
        for placeholder, text in (
            (Placeholders.WORK_DIR, attempt.slot.work),
            (Placeholders.TERMINATION_LOG, attempt.folder / "termination"),
            (Placeholders.LISTEN, LISTEN),
            (Placeholders.MODEL_CACHE, self._models),
            (Placeholders.ADDRESS_FILE, attempt.folder / "address"),
        ):
            value = value.replace(placeholder, str(text))
        return value

    def launch(self, attempt: Attempt, spec: JobSpec | ServerSpec, patience: Patience) -> None:
        """Start the program of `spec` under a witness in the prepared attempt, unless somebody has just done so.

        Raises OSError if the machine cannot start it now.
        """
        self._models.mkdir(exist_ok=True)
        program = spec.program
        inherited = {name: self._environment[name] for name in INHERITED if name in self._environment}
        secrets = {name: self._environment[name] for name in program.secrets if name in self._environment}
        visible = self.visible_environment(program, spec.resources, attempt, attempt.gpus)
        self._children.spawn(attempt, self.command(program), {**inherited, **secrets, **visible}, patience)

    def reap(self) -> None:
        self._children.reap()


class Children:
    """The witnesses that this process started; they outlive it, and while it lives it must take note of their ends."""

    def __init__(self) -> None:
        self._pids: set[int] = set()

    def spawn(
        self, attempt: Attempt, command: Sequence[str], environment: Mapping[str, str], patience: Patience
    ) -> None:
        """Start the witness with the attempt's lock already held: there is no moment in which nobody holds it."""
        lock = try_lock(attempt.alive_lock)
        if lock is None:
            return
        try:
            self._pids.add(_spawn(lock, attempt, _witness_command(attempt, command, patience), environment))
        finally:
            os.close(lock)
        attempt.life = Life.BEGINNING

    def reap(self) -> None:
        for pid in tuple(self._pids):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:  # somebody in this process waits for every child
                ended = True
            if ended:
                self._pids.discard(pid)


def _spawn(lock: int, attempt: Attempt, command: list[str], environment: Mapping[str, str]) -> int:
    return os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(attempt.slot.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, lock, 3),
        ),
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGINT, signal.SIGTERM),
    )


def _witness_command(attempt: Attempt, command: Sequence[str], patience: Patience) -> list[str]:
    plan = [(0, patience.drain), (signal.SIGINT, patience.interrupt), (signal.SIGTERM, patience.terminate)]
    steps = [f"{int(number)}:{seconds}" for number, seconds in plan if seconds] + [f"{int(signal.SIGKILL)}:0"]
    where = (str(attempt.folder), ",".join(steps), str(attempt.slot.work))
    return [sys.executable, "-I", "-S", str(WITNESS), *where, *command]


def _defaults(resources: Resources) -> dict[str, str]:
    threads = str(max(1, -(-resources.cpu_millis // 1000)))
    caps = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        **dict.fromkeys(caps, threads),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
