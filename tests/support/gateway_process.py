"""A gateway as a process of its own, to be killed and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

CHECKOUT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(look: Callable[[], Any], seconds: float = 60.0, explain: Callable[[], object] = str) -> Any:
    """What `look` gives as soon as it gives something; fails with what `explain` says."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"it did not come true within {seconds:g} s\n{explain()}"
        time.sleep(0.05)
    return found


class GatewayProcess:
    """`python -m app` on a free port of this machine, with its state in `home`."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.port = free_port()
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self._settings = {"MLOPS_HOME": str(home), "MLOPS_HTTP__PORT": str(self.port), **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.home.parent / "gateway.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app"], cwd=CHECKOUT, env={**os.environ, **self._settings}, stderr=log
            )
        eventually(self._answers)

    def kill(self) -> None:
        """As a power cut would: no signal handler runs."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """As a machine does that runs out of everything: it does nothing, and knows nothing of it."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.home.parent / "gateway.log").read_text()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        with contextlib.suppress(httpx2.TransportError):
            return self.client.get("/livez").status_code == 200
        return False


@contextlib.contextmanager
def gateway_process(home: Path, **settings: str) -> Iterator[GatewayProcess]:
    """A started gateway; at the end it, and everything that it launched, is stopped."""
    gateway = GatewayProcess(home, settings)
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.kill()
        gateway.client.close()
        command = [sys.executable, "-m", "app.runtimes.local", "stop", "--home", str(home)]
        subprocess.run(command, cwd=CHECKOUT, check=True, timeout=120, capture_output=True)
