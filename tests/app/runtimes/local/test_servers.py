"""Servers as real processes: probes, restarts with back-off, deadlines, scaling and draining."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

from app.core.conditions import TerminationReason
from app.runtimes.base import ProcessState, ReplicaObservation
from app.runtimes.local.settings import Patience
from app.runtimes.local.wishes import PLATFORM_LABEL
from tests.app.runtimes.local.workshop import SERVER, Workshop, is_alive, is_ready, replica_when, until

CRASH = "import sys\nprint('no model here')\nsys.exit(1)"
SILENT = "import time\ntime.sleep(60)"
UNREADABLE = """
    import json, os, sys
    with open(os.environ["TOLD"], "w") as file:
        json.dump({"reason": "ModelUnreadable", "message": "The model is broken."}, file)
    sys.exit(3)
"""
UNTIL_TOLD = SERVER.replace(
    'int(open("status").read()) if os.path.exists("status") else 200', '200 if os.path.exists("ready") else 503'
)


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


async def test_a_model_that_can_never_load_is_started_once(workshop: Workshop) -> None:
    def has_given_up(seen: ReplicaObservation) -> bool:
        return seen.state is ProcessState.EXITED and seen.reason == TerminationReason.MODEL_UNREADABLE

    for others_restarts in (3, 6):  # the second time in another gateway
        async with workshop.runtime(backoff_first=0.001, backoff_last=0.001) as runtime:
            await runtime.apply(workshop.server("serve", UNREADABLE))
            await runtime.apply(workshop.server("other", CRASH))
            await replica_when(runtime, "serve", has_given_up)
            await replica_when(runtime, "other", lambda seen, least=others_restarts: seen.restarts >= least)
            seen = await replica_when(runtime, "serve", has_given_up)
            assert (seen.restarts, seen.message) == (0, "The model is broken.")
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve", UNREADABLE, replicas=2))
        await replica_when(runtime, "serve", has_given_up, index=1)
        assert (await replica_when(runtime, "serve", has_given_up)).restarts == 0
        await runtime.delete("serve")
        await until(lambda: not (workshop.home / "servers/serve").exists())
        await runtime.apply(workshop.server("serve"))
        await replica_when(runtime, "serve", is_ready)


async def test_the_same_words_with_another_exit_code_are_no_reason_to_give_up(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve", UNREADABLE.replace("exit(3)", "exit(1)")))
        await replica_when(runtime, "serve", lambda seen: seen.restarts >= 2)


async def test_replicas_start_a_few_at_a_time(workshop: Workshop) -> None:
    async with workshop.runtime(starts_at_once=2) as runtime:
        await runtime.apply(workshop.server("serve", UNTIL_TOLD, replicas=3))
        await replica_when(runtime, "serve", lambda seen: seen.reason == "NotReady", index=1)
        waiting = await replica_when(runtime, "serve", lambda seen: seen.reason == "Queued", index=2)
        assert waiting.state is ProcessState.WAITING
        assert "2 replicas start at a time" in waiting.message
        assert not replica(workshop, index=2).exists()
        (replica(workshop) / "work/ready").touch()
        await replica_when(runtime, "serve", is_ready)
        await replica_when(runtime, "serve", lambda seen: seen.reason == "NotReady", index=2)


async def test_a_start_that_takes_too_long_makes_room(workshop: Workshop) -> None:
    async with workshop.runtime(starts_at_once=1) as runtime:
        await runtime.apply(workshop.server("slow", SILENT, deadline=0.3))
        await replica_when(runtime, "slow", lambda seen: seen.state is ProcessState.STARTING)
        await runtime.apply(workshop.server("serve"))
        await replica_when(runtime, "serve", is_ready)


async def test_a_server_of_the_platform_waits_for_no_turn(workshop: Workshop) -> None:
    async with workshop.runtime(starts_at_once=1) as runtime:
        await runtime.apply(workshop.server("slow", SILENT))
        await replica_when(runtime, "slow", lambda seen: seen.state is ProcessState.STARTING)
        await runtime.apply(replace(workshop.server("own"), labels={PLATFORM_LABEL: "true"}))
        await replica_when(runtime, "own", is_ready)
        os.kill(int(json.loads((replica(workshop, "own") / "attempts/1/process.json").read_text())["pid"]), 9)
        await replica_when(runtime, "own", lambda seen: is_ready(seen) and seen.restarts == 1)


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
