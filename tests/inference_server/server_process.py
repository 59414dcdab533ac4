"""A real inference server as a process, spoken to over HTTP."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference_server.contract import ServerInput

DEADLINE_SECONDS = 60


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {DEADLINE_SECONDS} s in vain for {what}")


def letter(folder: Path, url: str, /, **fields: Any) -> ServerInput:
    default = ServerInput(
        task_id="task-1",
        model_id="houses",
        family="tabular_classification",
        run_id="run-1",
        tracking_uri=url,
        listen="127.0.0.1:0",
        model_cache=str(folder / "cache"),
        termination_log=str(folder / "termination"),
        address_file=str(folder / "address"),
        cpu_threads=1,
    )
    return replace(default, **fields)


class ServerProcess:
    """`python -m inference_server` with a letter, its log in a file of `folder`."""

    def __init__(self, folder: Path, letter: ServerInput, *arguments: str) -> None:
        self.folder = folder
        self.letter = letter
        command = [sys.executable, "-m", "inference_server", *arguments]
        environment = {**os.environ, **({} if arguments else letter.to_env())}
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    @property
    def address(self) -> str:
        return until(lambda: self._read("address"), "the address file")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def termination(self) -> dict[str, str]:
        return json.loads(self._read("termination"))

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and the JSON of an answer. Bytes are sent as they are, all else as JSON."""
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE_SECONDS)
        try:
            sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, sent, dict(headers or {}))
            response = connection.getresponse()
            content = json.loads(response.read())
            return response.status, {name.lower(): value for name, value in response.getheaders()}, content
        finally:
            connection.close()

    def predict(self, features: Any) -> tuple[int, dict[str, str], Any]:
        return self.ask("POST", "/predict", {"data": {"features": features}})

    def await_ready(self) -> None:
        until(lambda: self.process.poll() is not None or self.ask("GET", "/health/ready")[0] == 200, "ready")
        assert self.process.poll() is None, self.log

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def _read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


@contextmanager
def serving(folder: Path, letter: ServerInput, *arguments: str) -> Iterator[ServerProcess]:
    server = ServerProcess(folder, letter, *arguments)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
