"""A real PostgreSQL for as long as a `with` block lasts: its own data folder, a socket in it, no network."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
WHAT_STAYS_UNPROVED = "no PostgreSQL here (apt-get install postgresql): the store is proved on SQLite only"


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """An SQLAlchemy URL of an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a short path: a socket's name has 107 characters at most
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        _run("initdb", "-D", f"{folder}/data", "-A", "trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        _run("pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
        try:
            yield f"postgresql+asyncpg://postgres@/postgres?host={folder}"
        finally:
            _run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str) -> None:
    """PostgreSQL refuses to run as root."""
    command = [str(PROGRAMS[-1] / program), *arguments]
    owner = {"user": "postgres"} if os.geteuid() == 0 else {}
    subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/", **owner)  # type: ignore[call-overload]
