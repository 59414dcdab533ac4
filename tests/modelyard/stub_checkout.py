"""A checkout whose `app` is a few lines, and `yard up` and `yard down` run on it as real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds; a bound, not an expectation

_APP = """
import http.server, json, os, pathlib, signal, sys

behaviour = os.environ["STUB"]
print("stub gateway:", behaviour, flush=True)
if behaviour == "crash":
    for number in range(50):
        print("line", number)
    sys.exit("The store cannot be opened.")
if behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
LACKS = {"no-port": {"message": "Port 5999 is taken by another program.", "code": "port-taken"}}
probes = 0


class Conversation(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global probes
        probes += self.path == "/readyz"
        ok = probes > 2 and behaviour not in ("never", "no-port")
        lack = LACKS.get(behaviour, {"message": "MLflow is starting.", "code": "tracking-unavailable"})
        checks = {"store": {"ok": True}, "tracking": {"ok": ok} | ({} if ok else lack)}
        body = {"checks": checks} if self.path == "/readyz" else {"tracking": {"uri": "http://127.0.0.1:5999"}}
        content = json.dumps(body).encode()
        self.send_response(200 if ok else 503)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer.allow_reuse_address = True
place = (os.environ["MLOPS_HTTP__HOST"], int(os.environ["MLOPS_HTTP__PORT"]))
http.server.ThreadingHTTPServer(place, Conversation).serve_forever()
"""
_STOP = """
import pathlib, sys

assert sys.argv[1:3] == ["stop", "--home"]
with open(pathlib.Path(sys.argv[3]) / "stopped", "a") as file:
    file.write("stopped\\n")
print("1 job left a checkpoint.")
"""


class StubCheckout:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".modelyard"
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        local = folder / "app" / "runtimes" / "local"
        local.mkdir(parents=True)
        for package in (folder / "app", folder / "app" / "runtimes", local):
            (package / "__init__.py").touch()
        (folder / "app" / "__main__.py").write_text(_APP)
        (local / "__main__.py").write_text(_STOP)
        (folder / "model_profiles.yaml").touch()

    def up(self, *words: str, behaviour: str = "well") -> subprocess.CompletedProcess[str]:
        return self._finish(self.start("up", "--port", str(self.port), *words, behaviour=behaviour))

    def down(self, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return self._finish(self.start("down", *words), answer)

    def start(self, verb: str, *words: str, behaviour: str = "well") -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "modelyard.cli", verb, "--checkout", str(self.folder), *words]
        return self._start(command, {"STUB": behaviour})

    def yard(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Any other command, which knows this checkout's home, as one installed from it would."""
        command = [sys.executable, "-W", "error", "-m", "modelyard.cli", *words]
        return self._finish(self._start(command, {"MLOPS_HOME": str(self.home), **environment}))

    def _start(self, command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLOPS_", "MODELYARD"))}
        return subprocess.Popen(
            command,
            env={**inherited, "PYTHONPATH": str(REPOSITORY), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def note(self) -> dict[str, Any]:
        """Who the gateway is, as its home says."""
        content: dict[str, Any] = json.loads((self.home / "gateway.json").read_text())
        return content

    def write_note(self, **note: Any) -> None:
        self.home.mkdir(exist_ok=True)
        (self.home / "gateway.json").write_text(json.dumps(note))

    def _finish(self, process: subprocess.Popen[str], answer: str = "") -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(answer, timeout=PATIENCE)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold, within PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
