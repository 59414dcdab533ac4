"""A real MLflow server for tests: SQLite and an artifact folder, on a port of this machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

_START_SECONDS = 60


class MlflowServer:
    """Starts and stops on one port as often as a test likes; what it has stored stays in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # a group of its own: its workers go with it
                self._command(), env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        self._await_health()
        return self

    def start_again(self) -> Self:
        """Start it unless it runs."""
        return self if self._process is not None else self.start()

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ask(self, path: str, body: object = None, **query: str) -> Any:
        """The JSON answer of `/api/2.0/mlflow/<path>`: a GET, or a POST if there is a body."""
        address = f"{self.url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _command(self) -> list[str]:
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        artifacts = str(self.folder / "artifacts")
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        keep = ["--backend-store-uri", store, "--artifacts-destination", artifacts]
        return [sys.executable, "-m", "mlflow", "server", *listen, *keep]

    def _environment(self) -> dict[str, str]:
        lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {**os.environ, **lean, "PYTHONWARNINGS": "ignore"}

    def _await_health(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.stop()
        raise AssertionError(f"MLflow did not start: {(self.folder / 'server.log').read_text()[-2000:]}")


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The URL of a server that runs as long as the context."""
    server = MlflowServer(folder)
    try:
        yield server.start().url
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
