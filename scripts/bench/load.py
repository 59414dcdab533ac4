"""Load on a server, with wrk, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machine import QUIET, Foreign, process_seconds, wait_until_quiet

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT = ("--timeout", "20s")  # of one request; wrk's own is shorter than a slow server's queue
REPEATS = 5  # a noisy round is repeated this often before it is taken as it is


@dataclass(frozen=True)
class Round:
    """One run of wrk: requests a second, times in microseconds, and the cores that others kept busy meanwhile."""

    rate: float
    p50: float
    p99: float
    cpu: float  # the server's CPU time a request
    errors: int
    foreign: float

    @property
    def quiet(self) -> bool:
        return self.foreign < QUIET


def post(url: str, body: Path, *, connections: int, seconds: int, core: int, server: int) -> Round:
    """Post `body` for `seconds` over `connections` connections to the server with this process id."""
    environment = {**os.environ, "BENCH_BODY": str(body)}
    command = [
        "taskset",
        "-c",
        str(core),
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        *TIMEOUT,
        "-s",
        str(SCRIPT),
        url,
    ]
    foreign, cpu = Foreign(), process_seconds(server)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=True)
    cpu = process_seconds(server) - cpu
    numbers = json.loads(done.stdout.strip().splitlines()[-1])
    requests = max(numbers["requests"], 1)
    return Round(
        rate=numbers["requests"] / numbers["seconds"],
        p50=numbers["p50"],
        p99=numbers["p99"],
        cpu=cpu / requests * 1e6,
        errors=numbers["errors"],
        foreign=foreign.cores(),
    )


def post_in_quiet(
    url: str, body: Path, *, connections: int, seconds: int, core: int, server: int, repeats: int = REPEATS
) -> Round:
    """As `post`, at most so often while others use the machine; the quietest round counts."""
    rounds: list[Round] = []
    while len(rounds) < max(repeats, 1):
        rounds.append(post(url, body, connections=connections, seconds=seconds, core=core, server=server))
        if rounds[-1].quiet or len(rounds) == repeats:
            break
        wait_until_quiet(20)
    return min(rounds, key=lambda done: done.foreign)
