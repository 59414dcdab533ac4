"""Gateways come and go, or are killed at any moment; what they launched goes on, once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from app.core.specs import JobSpec
from app.runtimes.base import ProcessState
from app.runtimes.local.records import spec_record
from app.runtimes.local.settings import CHECKOUT, Patience
from tests.app.runtimes.local.workshop import (
    Workshop,
    ended,
    is_alive,
    is_ready,
    job_when,
    replica_when,
    runs,
    says,
    until,
)

ONCE = "import sys, time\nopen('ran', 'a').write('x')\nprint('ran', flush=True)\ntime.sleep(0.05)\nsys.exit(7)"
SLEEP = "import os, time\nprint('ready', os.getpid(), flush=True)\ntime.sleep(60)"
DOOMED = Path(__file__).with_name("doomed_gateway.py")


async def doomed_gateway(workshop: Workshop, spec: JobSpec) -> asyncio.subprocess.Process:
    wish = workshop.folder / f"{spec.name}.json"
    wish.write_text(json.dumps(spec_record(spec)))
    gateway = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DOOMED), str(workshop.home), str(wish)),
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert gateway.stdout
    while await gateway.stdout.readline() != b"up\n":
        pass
    return gateway


async def kill(gateway: asyncio.subprocess.Process) -> None:
    gateway.kill()
    await gateway.communicate()


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4, 7, 12, 20, 40])
async def test_a_gateway_killed_in_the_midst_of_an_apply_loses_and_doubles_nothing(
    workshop: Workshop, milliseconds: int
) -> None:
    spec = workshop.job("train", ONCE)
    gateway = await doomed_gateway(workshop, spec)
    assert gateway.stdin
    gateway.stdin.write(b"go\n")
    await asyncio.sleep(milliseconds / 1000)  # not to wait: the moment of death is what is tried
    await kill(gateway)
    async with workshop.runtime() as runtime:
        await runtime.apply(spec)
        assert (await ended(runtime, "train")).exit_code == 7
        assert (await runtime.read_log("train")).content == b"ran\n"
    assert (workshop.slot("train") / "work/ran").read_text() == "x"


async def test_an_exit_code_survives_while_no_gateway_looks(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("train", SLEEP))
        os.kill(json.loads((workshop.slot("train") / "attempts/1/process.json").read_text())["pid"], signal.SIGUSR1)
    await until((workshop.slot("train") / "attempts/1/exit.json").exists)
    async with workshop.runtime() as runtime:
        assert (await ended(runtime, "train")).signal == "SIGUSR1"


async def test_a_program_never_runs_unwitnessed_even_while_no_gateway_looks(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        (pid,) = await runs(runtime, workshop.job("train", SLEEP))
    os.kill(json.loads((workshop.slot("train") / "attempts/1/process.json").read_text())["witness"], signal.SIGKILL)
    await until(lambda: not is_alive(pid))
    async with workshop.runtime() as runtime:
        assert (await ended(runtime, "train")).reason == "Lost"


async def test_a_job_can_be_stopped_by_the_next_gateway(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        (pid,) = await runs(runtime, workshop.job("train", SLEEP))
    assert is_alive(pid)
    async with workshop.runtime() as runtime:
        assert (await runtime.observe_jobs(["train"]))["train"].state is ProcessState.RUNNING
        await runtime.stop("train")
        assert (await ended(runtime, "train")).reason == "Stopped"
    assert not is_alive(pid)


async def test_of_two_gateways_one_acts_and_both_may_wish_and_see(workshop: Workshop) -> None:
    async with workshop.runtime() as first, workshop.runtime() as second:
        specs = [workshop.job(f"job-{number}", ONCE) for number in range(4)]
        await asyncio.gather(*(runtime.apply(spec) for spec in specs for runtime in (first, second)))
        for spec in specs:
            for runtime in (first, second):
                assert (await ended(runtime, spec.name)).exit_code == 7
            assert (workshop.slot(spec.name) / "work/ran").read_text() == "x"
        await second.apply(workshop.job("long", SLEEP))
        await job_when(second, "long", lambda seen: seen.state is ProcessState.RUNNING)
        await second.stop("long")
        assert (await ended(first, "long")).reason == "Stopped"


async def test_the_second_gateway_takes_over_when_the_first_is_gone(workshop: Workshop) -> None:
    spec = workshop.job("long", SLEEP)
    gateway = await doomed_gateway(workshop, spec)
    assert gateway.stdin
    gateway.stdin.write(b"go\n")
    async with workshop.runtime() as second:
        (pid,) = await runs(second, spec)
        await kill(gateway)
        assert is_alive(pid)
        await second.stop("long")
        assert (await ended(second, "long")).reason == "Stopped"


async def test_a_server_is_adopted_and_never_seen_unready(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve"))
        before = await replica_when(runtime, "serve", is_ready)
    async with workshop.runtime() as runtime:
        seen = (await runtime.observe_servers(["serve"]))["serve"].replicas[0]
        assert (seen.state, seen.address, seen.restarts) == (ProcessState.RUNNING, before.address, 0)


async def test_a_server_that_ended_while_no_gateway_looked_is_started_again(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.server("serve"))
        await replica_when(runtime, "serve", is_ready)
    attempt = workshop.home / "servers/serve/replicas/0/attempts/1"
    os.kill(json.loads((attempt / "process.json").read_text())["pid"], signal.SIGKILL)
    await until((attempt / "exit.json").exists)
    async with workshop.runtime() as runtime:
        seen = await replica_when(runtime, "serve", lambda seen: is_ready(seen) and seen.restarts == 1)
        assert seen.last_termination is not None
        assert seen.last_termination.signal == "SIGKILL"


async def test_a_deletion_that_was_cut_short_is_finished(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("long", SLEEP))
    rest = workshop.home / "trash" / "job.1"
    rest.mkdir()
    (rest / "log").write_text("left over")
    async with workshop.runtime() as runtime:
        assert not rest.exists()
        await runtime.delete("long")
    async with workshop.runtime():
        await until(lambda: not workshop.slot("long").exists())


CHECKPOINT = """
    import json, os, signal, sys
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    open("ran", "a").write("x")
    print("ready", os.path.getsize("ran"), flush=True)
    signal.sigwait({signal.SIGINT})
    with open(os.environ["TOLD"], "w") as told:
        json.dump({"reason": "Interrupted", "message": "A checkpoint was left."}, told)
    sys.exit(1)
"""


async def test_all_is_stopped_and_goes_on_with_the_next_start(workshop: Workshop) -> None:
    jobs = [workshop.job("trainer", CHECKPOINT), workshop.job("sleeper", SLEEP)]
    async with workshop.runtime(gpus=1) as runtime:
        await runtime.apply(workshop.server("serve"))
        await runtime.apply(workshop.job("holder", CHECKPOINT, gpus=1))
        await job_when(runtime, "holder", lambda seen: seen.state is ProcessState.RUNNING)
        await runtime.apply(workshop.job("queued", ONCE, gpus=1))
        for job in jobs:
            await runs(runtime, job)
        await replica_when(runtime, "serve", is_ready)
    said = await workshop.stop_all()
    assert {f"{one}: stopped" for one in ("job trainer", "job sleeper", "job holder", "server serve-0")} <= set(said)
    assert not any("queued" in line for line in said)
    async with workshop.runtime(gpus=1) as runtime:
        seen = await runtime.observe_jobs(["trainer", "sleeper", "holder"])
        assert {one.reason for one in seen.values()} == {"Interrupted"}
        assert seen["sleeper"].message == "The platform was stopped while it ran."
        assert (await ended(runtime, "queued")).exit_code == 7
        await replica_when(runtime, "serve", is_ready)
        await runtime.apply(jobs[0])
        await says(runtime, "trainer", "ready 2")


async def test_all_is_stopped_from_the_command_line(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        (pid,) = await runs(runtime, workshop.job("trainer", SLEEP))
        refused, words = await stop_command(workshop)
        assert refused == 1 and "Another gateway acts" in words
    code, words = await stop_command(workshop)
    assert (code, words.splitlines()) == (0, ["job trainer: asked to stop", "job trainer: stopped"])
    assert not is_alive(pid)


async def stop_command(workshop: Workshop) -> tuple[int | None, str]:
    stopping = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.runtimes.local", "stop", "--home", str(workshop.home)),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await stopping.communicate()
    return stopping.returncode, output.decode()


async def test_a_stop_goes_on_though_the_gateway_that_asked_is_gone(workshop: Workshop) -> None:
    stubborn = f"import signal\nfor s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n{SLEEP}"
    async with workshop.runtime(job_patience=Patience(interrupt=0.3, terminate=0.3)) as runtime:
        (pid,) = await runs(runtime, workshop.job("stubborn", stubborn))
        await runtime.stop("stubborn")
        await job_when(runtime, "stubborn", lambda seen: seen.state is ProcessState.STOPPING)
    await until(lambda: not is_alive(pid))
