"""Servers as real processes: probes, restarts with back-off, deadlines, scaling and draining."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from app.runtimes.base import ProcessState
from app.runtimes.local.settings import Patience
from tests.app.runtimes.local.workshop import SERVER, Workshop, is_alive, is_ready, replica_when, until

CRASH = "import sys\nprint('no model here')\nsys.exit(1)"
SILENT = "import time\ntime.sleep(60)"


def replica(workshop: Workshop, name: str = "serve", index: int = 0) -> Path:
    return workshop.home / "servers" / name / "replicas" / str(index)


def pid_of(workshop: Workshop, attempt: int = 1) -> int:
    return int(json.loads((replica(workshop) / f"attempts/{attempt}/process.json").read_text())["pid"])


async def test_a_server_that_keeps_crashing_waits_longer_each_time(workshop: Workshop) -> None:
    async with workshop.runtime(backoff_first=0.02, backoff_last=0.1) as runtime:
        await runtime.apply(workshop.server("serve", CRASH))
        seen = await replica_when(runtime, "serve", lambda seen: seen.restarts >= 4)
        assert seen.last_termination is not None
        assert "no model here" in seen.last_termination.message
        await replica_when(runtime, "serve", lambda seen: seen.state is ProcessState.EXITED)
        assert len(list((replica(workshop) / "attempts").iterdir())) <= 3


async def test_a_back_off_is_kept_by_the_next_gateway(workshop: Workshop) -> None:
    for count in (2, 4):
        async with workshop.runtime(backoff_first=0.001) as runtime:
            await runtime.apply(workshop.server("serve", CRASH))
            await replica_when(runtime, "serve", lambda seen, count=count: seen.restarts >= count)
    last = max((replica(workshop) / "attempts").iterdir(), key=lambda path: int(path.name))
    assert json.loads((last / "launch.json").read_text())["failures"] == int(last.name) - 1


async def test_a_replica_that_is_not_ready_in_time_is_restarted_and_says_so(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve", SILENT, deadline=0.2))
        seen = await replica_when(runtime, "serve", lambda seen: seen.restarts >= 1)
        assert seen.last_termination is not None
        assert seen.last_termination.reason == "StartDeadlineExceeded"
        assert "0.2 s" in seen.last_termination.message


async def test_a_replica_that_says_it_is_not_ready_gets_no_more_requests(workshop: Workshop) -> None:
    async with workshop.runtime(probe_period=0.05) as runtime:
        await runtime.apply(workshop.server("serve"))
        await replica_when(runtime, "serve", is_ready)
        status = replica(workshop) / "work/status"
        status.with_name("new").write_text("503")
        status.with_name("new").rename(status)
        seen = await replica_when(runtime, "serve", lambda seen: seen.reason == "NotReady")
        assert (seen.state, seen.restarts) == (ProcessState.STARTING, 0)
        status.unlink()
        await replica_when(runtime, "serve", is_ready)


async def test_a_replica_that_answers_no_more_is_restarted(workshop: Workshop) -> None:
    async with workshop.runtime(probe_period=0.05, probe_timeout=0.1, restart_after=5) as runtime:
        await runtime.apply(workshop.server("serve"))
        await replica_when(runtime, "serve", is_ready)
        os.kill(pid_of(workshop), signal.SIGSTOP)
        await replica_when(runtime, "serve", lambda seen: seen.state is ProcessState.STARTING)
        os.kill(pid_of(workshop), signal.SIGCONT)
        await replica_when(runtime, "serve", is_ready)
        os.kill(pid_of(workshop), signal.SIGSTOP)
        await replica_when(runtime, "serve", lambda seen: seen.state is ProcessState.STOPPING)
        os.kill(pid_of(workshop), signal.SIGCONT)
        seen = await replica_when(runtime, "serve", lambda seen: is_ready(seen) and seen.restarts == 1)
        assert seen.last_termination is not None
        assert seen.last_termination.reason == "NoAnswer"


async def test_a_replica_to_go_is_out_of_sight_before_it_gets_its_signal(workshop: Workshop) -> None:
    slow = SERVER.replace("lambda *_: os._exit(0)", "lambda *_: (open('told', 'w'), os._exit(0))")
    async with workshop.runtime(server_patience=Patience(drain=1, interrupt=0, terminate=5)) as runtime:
        await runtime.apply(workshop.server("serve", slow, replicas=2))
        await replica_when(runtime, "serve", is_ready, index=1)
        told = replica(workshop, index=1) / "work/told"
        await runtime.apply(workshop.server("serve", slow, replicas=1))
        await replica_when(runtime, "serve", lambda seen: seen.state is ProcessState.STOPPING, index=1)
        assert not told.exists()
        await until(lambda: not replica(workshop, index=1).exists())
        assert is_ready(await replica_when(runtime, "serve", lambda seen: True))


async def test_addresses_that_are_not_of_this_machine_are_not_believed(workshop: Workshop) -> None:
    source = "import os, time\nopen(os.environ['ADDRESS'], 'w').write('192.0.2.1:80')\ntime.sleep(60)"
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve", source))
        seen = await replica_when(runtime, "serve", lambda seen: "where it listens" in seen.message)
        assert seen.address is None


async def test_a_server_deleted_while_it_crashes_is_gone(workshop: Workshop) -> None:
    async with workshop.runtime(backoff_first=30) as runtime:
        await runtime.apply(workshop.server("serve", CRASH))
        await replica_when(runtime, "serve", lambda seen: seen.state is ProcessState.EXITED)
        await runtime.delete("serve")
        await until(lambda: not (workshop.home / "servers/serve").exists())
        await asyncio.gather(*(runtime.apply(workshop.server("serve")) for _ in range(3)))
        await replica_when(runtime, "serve", is_ready)
        pid = pid_of(workshop)
        await runtime.delete("serve")
        await until(lambda: not is_alive(pid))
