"""Servers under test: started on a port and a core of their own, and ended with everything below them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import machine

NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  {http}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx(folder: Path, name: str, http: str) -> list[str]:
    """The command that serves these `http` directives; its files lie in `folder`."""
    own = folder / name
    own.mkdir()
    configuration = own / "nginx.conf"
    configuration.write_text(NGINX.format(folder=own, http=http))
    return ["nginx", "-c", str(configuration), "-p", str(own), "-e", str(own / "error.log")]


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    *,
    core: int,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit: float = 30,
) -> Iterator[int]:
    """The process id of `command`, pinned to `core`, once it listens on `port`; at the end nothing of it is left.

    It runs in `folder`. What it starts is ended too, even in sessions of its own.
    """
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env={**os.environ, **(environment or {})}, cwd=folder,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            end = time.monotonic() + limit
            while not _listening(port):
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    raise RuntimeError(f"{command[0]} did not start to listen on {port}:\n{output.read()[-2000:]}")
                time.sleep(0.02)
            yield process.pid
        finally:
            _end(process)


def leave_nothing_running() -> None:
    """From here on a SIGTERM ends this program as an exit does: what it has started is ended with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _end(process: subprocess.Popen[bytes]) -> None:
    below = {pid: machine.born(pid) for pid in machine.descendants(process.pid)}
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pid, born in below.items():
        if born and machine.born(pid) == born:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
