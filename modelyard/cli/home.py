"""Home: the folder of a platform on this machine, and who the gateway is that runs from it.

Standard library only, and run as a file too: the process that notes its pid here then becomes the gateway, so that no
gateway ever runs unnoted, whenever `yard up` is killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

STOP_PATIENCE = 20.0  # seconds between SIGTERM and SIGKILL
KILL_PATIENCE = 5.0  # seconds for the kernel to clear up


@dataclass(frozen=True)
class Gateway:
    """A gateway's process. A pid alone proves nothing, for numbers are used again; pid and start time do."""

    pid: int
    started: int
    url: str

    @property
    def is_alive(self) -> bool:
        return start_time(self.pid) == self.started

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """End it: ask, and after `patience` seconds kill. Returns when it is gone; gone already is no error."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Asked after the handle was taken: a number that was used again in between fails here.
            if self.is_alive:
                _end(handle, patience)
        finally:
            os.close(handle)


@dataclass(frozen=True)
class Home:
    """The state folder. Its files are written whole or not at all."""

    path: Path

    @property
    def log(self) -> Path:
        return self.path / "gateway.log"

    @property
    def was_used(self) -> bool:
        """Whether a gateway was ever started from here."""
        return self._lock.exists()

    def gateway(self) -> Gateway | None:
        """The gateway that runs from here, if one does."""
        try:
            noted = Gateway(**json.loads(self._note.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError, TypeError, ValueError):
            return None
        return noted if noted.is_alive else None

    def forget_gateway(self) -> None:
        """Remove the note of a gateway that has ended, unless another has taken its place."""
        with self._locked():
            if not self.gateway():
                self._note.unlink(missing_ok=True)

    def become_gateway(self, checkout: Path, host: str, port: int) -> NoReturn:
        """Turn this process into the gateway. Exits with a sentence if one runs already."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if running := self.gateway():
                sys.exit(f"A gateway runs already, at {running.url}.")
            pid = os.getpid()
            self._write(Gateway(pid, start_time(pid) or 0, url_of(host, port)))
        os.chdir(checkout)
        place = {"MLOPS_HOME": str(self.path), "MLOPS_HTTP__HOST": host, "MLOPS_HTTP__PORT": str(port)}
        os.execve(sys.executable, [sys.executable, "-m", "app"], os.environ | place)

    def spawn_gateway(self, checkout: Path, host: str, port: int) -> Gateway:
        """Start the gateway in a session of its own, its output appended to the log."""
        self.path.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-P", __file__, str(self.path), str(checkout), host, str(port)]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        output = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        pid = os.posix_spawn(sys.executable, words, os.environ, file_actions=output, setsid=True)
        return Gateway(pid, start_time(pid) or 0, url_of(host, port))

    @property
    def _note(self) -> Path:
        return self.path / "gateway.json"

    @property
    def _lock(self) -> Path:
        return self.path / "gateway.lock"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write(self, gateway: Gateway) -> None:
        draft = self.path / "gateway.json.draft"
        draft.write_text(json.dumps(asdict(gateway)) + "\n", encoding="utf-8")
        draft.replace(self._note)


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot (proc(5), field 22 of stat); None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def url_of(host: str, port: int) -> str:
    """Where a gateway that listens there is reached from this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _end(handle: int, patience: float) -> None:
    gone = select.poll()
    gone.register(handle, select.POLLIN)
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILL_PATIENCE)):
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return
        if gone.poll(seconds * 1000):
            return


if __name__ == "__main__":
    Home(Path(sys.argv[1])).become_gateway(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
