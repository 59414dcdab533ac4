"""Jobs as real processes: how they start, stop and end, and what may go wrong with them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from app.core.errors import ConfigurationError, FrameworkMissing, RuntimeUnavailable
from app.core.specs import Placement
from app.runtimes.base import ProcessState
from app.runtimes.local.settings import LocalSettings, Patience
from tests.app.runtimes.local.workshop import (
    Workshop,
    ended,
    is_alive,
    job_when,
    runs,
    says,
    until,
    with_labels,
)

SLEEP = "import os, time\nprint('ready', os.getpid(), flush=True)\ntime.sleep(60)"
STUBBORN = f"import signal\nfor s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n{SLEEP}"


async def test_a_program_that_ignores_every_gentle_signal_is_killed(workshop: Workshop) -> None:
    async with workshop.runtime(job_patience=Patience(interrupt=0.1, terminate=0.1)) as runtime:
        (pid,) = await runs(runtime, workshop.job("stubborn", STUBBORN))
        await runtime.stop("stubborn")
        termination = await ended(runtime, "stubborn")
    assert (termination.reason, termination.signal, termination.exit_code) == ("Stopped", "SIGKILL", None)
    assert "did not end upon SIGINT and SIGTERM" in termination.message
    assert not is_alive(pid)


async def test_a_program_is_asked_by_sigint_first(workshop: Workshop) -> None:
    source = "import time\ntry:\n    print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: print('int')"
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("gentle", source))
        await runtime.stop("gentle")
        assert (await ended(runtime, "gentle")).reason == "Completed"
        await says(runtime, "gentle", "int")


async def test_a_running_job_that_was_told_to_stop_is_seen_stopping(workshop: Workshop) -> None:
    async with workshop.runtime(job_patience=Patience(interrupt=1, terminate=0.1)) as runtime:
        await runs(runtime, workshop.job("slow", STUBBORN))
        await runtime.stop("slow")
        await job_when(runtime, "slow", lambda seen: seen.state is ProcessState.STOPPING)
        await ended(runtime, "slow")


@pytest.mark.parametrize("session", [False, True], ids=["in the group", "in a session of its own"])
async def test_nothing_that_a_program_started_outlives_it(workshop: Workshop, session: bool) -> None:
    source = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session={session})
        print("ready", child.pid, flush=True)
        sys.stdin.read(); sys.exit(0)
    """
    async with workshop.runtime() as runtime:
        spec = workshop.job("parent", source)
        (grandchild,) = await runs(runtime, spec)
        assert (await ended(runtime, "parent")).exit_code == 0
        await until(lambda: not is_alive(grandchild))


async def test_a_crash_is_told_by_its_signal_and_last_words(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        source = "import os, signal\nprint('last words', flush=True)\nprint()\nos.kill(os.getpid(), signal.SIGSEGV)"
        await runtime.apply(workshop.job("crash", source))
        termination = await ended(runtime, "crash")
    assert (termination.reason, termination.signal, termination.exit_code) == ("Crashed", "SIGSEGV", None)
    assert "SIGSEGV" in termination.message and "last words" in termination.message


async def test_sigkill_from_elsewhere_is_no_lack_of_memory(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.job("victim", "import os\nos.kill(os.getpid(), 9)"))
        termination = await ended(runtime, "victim")
    assert (termination.reason, termination.signal) == ("Crashed", "SIGKILL")


async def test_what_a_program_says_of_its_end_is_checked(workshop: Workshop) -> None:
    said = json.dumps({"reason": "Not a word!", "message": "x"}), '{"reason": 1}', "no json", "[]"
    async with workshop.runtime() as runtime:
        for number, line in enumerate(said):
            source = f"import os, sys\nopen(os.environ['TOLD'], 'w').write({line!r})\nsys.exit(4)"
            await runtime.apply(workshop.job(f"odd-{number}", source))
            termination = await ended(runtime, f"odd-{number}")
            assert (termination.reason, termination.exit_code) == ("Crashed", 4)


async def test_a_killed_witness_takes_the_program_with_it_and_is_told_as_lost(workshop: Workshop) -> None:
    source = f"import subprocess, sys\nc = subprocess.Popen(['sleep', '60'])\nprint(c.pid, flush=True)\n{SLEEP}"
    async with workshop.runtime() as runtime:
        pids = await runs(runtime, workshop.job("orphan", source))
        process = json.loads((workshop.slot("orphan") / "attempts/1/process.json").read_text())
        os.kill(process["witness"], signal.SIGKILL)
        termination = await ended(runtime, "orphan")
        assert (termination.reason, termination.exit_code) == ("Lost", None)
        await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_a_job_of_an_earlier_boot_is_lost(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("old", SLEEP))
    attempt = workshop.slot("old") / "attempts/1"
    process = json.loads((attempt / "process.json").read_text())
    os.kill(process["witness"], signal.SIGKILL)
    (attempt / "process.json").write_text(json.dumps({**process, "boot": "another"}))
    async with workshop.runtime() as runtime:
        assert "restarted" in (await ended(runtime, "old")).message


async def test_a_pid_that_was_used_again_is_never_signalled(workshop: Workshop) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("mistaken", SLEEP))
    attempt = workshop.slot("mistaken") / "attempts/1"
    process = json.loads((attempt / "process.json").read_text())
    forged = {**process, "pid": stranger.pid, "witness": stranger.pid, "start": 1, "witness_start": 1}
    (attempt / "process.json").write_text(json.dumps(forged))
    async with workshop.runtime(job_patience=Patience(interrupt=0.01, terminate=0.01)) as runtime:
        await runtime.stop("mistaken")
        await runtime.delete("mistaken")
        await until(lambda: not workshop.slot("mistaken").exists())
        assert stranger.returncode is None and is_alive(stranger.pid)
    stranger.kill()
    await stranger.wait()


async def test_stopping_before_the_program_is_up_ends_it_too(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        for number in range(5):
            await runtime.apply(workshop.job(f"hasty-{number}", SLEEP))
            await asyncio.gather(runtime.stop(f"hasty-{number}"), runtime.stop(f"hasty-{number}"))
        for number in range(5):
            assert (await ended(runtime, f"hasty-{number}")).reason == "Stopped"


async def test_a_job_deleted_as_it_starts_leaves_nothing(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        for number in range(5):
            await runtime.apply(workshop.job(f"brief-{number}", SLEEP))
            await runtime.delete(f"brief-{number}")
        for folder in ("jobs", "active", "trash"):
            await until(lambda folder=folder: not list((workshop.home / folder).iterdir()))


async def test_a_place_that_a_profile_asks_for_is_noted_as_unused(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(replace(workshop.job("placed", "pass"), placement=Placement({"disk": "ssd"})))
        await ended(runtime, "placed")
        assert "there is one machine" in (await job_when(runtime, "placed")).notes[0]


async def test_a_run_deadline_passes_while_there_is_no_gateway_too(workshop: Workshop) -> None:
    limit = timedelta(seconds=0.5)
    async with workshop.runtime() as runtime:
        await runs(runtime, replace(workshop.job("long", SLEEP), run_deadline=limit))
    note = workshop.home / "jobs/long/wish.json"
    assert json.loads(note.read_text())["spec"]["run_deadline"] == 0.5
    async with workshop.runtime() as runtime:
        assert (await ended(runtime, "long")).reason == "DeadlineExceeded"


async def test_a_wish_that_an_older_version_kept_is_carried_on(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("old", SLEEP))
    note = workshop.home / "jobs/old/wish.json"
    wish = json.loads(note.read_text())
    for name in ("placement", "run_deadline", "queue"):
        wish["spec"].pop(name)
    note.write_text(json.dumps(wish))
    async with workshop.runtime() as runtime:
        await runtime.stop("old")
        assert (await ended(runtime, "old")).reason == "Stopped"


async def test_an_image_that_the_user_named_is_noted_as_unused(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.apply(with_labels(workshop.job("named", "pass"), image_from_request="true"))
        await runtime.apply(workshop.job("unnamed", "pass"))
        assert "image:1 was not used" in (await job_when(runtime, "named")).notes[0]
        assert (await job_when(runtime, "unnamed")).notes == ()


async def test_a_program_that_cannot_be_executed_says_so(workshop: Workshop) -> None:
    async with workshop.runtime(python=workshop.folder / "no-python") as runtime:
        await runtime.apply(workshop.job("nowhere", "pass"))
        termination = await ended(runtime, "nowhere")
    assert (termination.reason, termination.exit_code) == ("Crashed", 127)
    assert "no-python cannot be started" in termination.message


async def test_frameworks_are_sought_in_the_interpreter_that_runs_the_programs(workshop: Workshop) -> None:
    other = workshop.folder / "python"
    other.write_text('#!/bin/sh\necho "$@" >> "$0.calls"\necho torch\n')
    other.chmod(0o755)
    spec = with_labels(workshop.job("heavy", "pass"), profile="image_classification")
    spec = replace(spec, program=replace(spec.program, requires=("numpy", "torch"), install="pip install torch"))
    async with workshop.runtime(python=other) as runtime:
        for _ in range(2):
            with pytest.raises(FrameworkMissing) as refusal:
                runtime.admit(spec)
    assert refusal.value.detail.startswith("image_classification needs torch,")
    assert refusal.value.detail.endswith("pip install torch")
    first, second = (workshop.folder / "python.calls").read_text().splitlines()
    assert first.endswith(" numpy torch") and second.endswith("sys.argv[1:] if u.find_spec(n) is None)) torch")


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\\b", "a\nb", "a\x7fb"])
def test_a_home_that_cannot_stand_in_a_letter_is_refused(workshop: Workshop, name: str) -> None:
    with pytest.raises(ConfigurationError, match="Choose another folder"):
        LocalSettings(workshop.folder / name)


async def test_a_home_with_spaces_and_umlauts_serves(workshop: Workshop) -> None:
    workshop.home = workshop.folder / "Mein Häuschen {x}"
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.job("fine", "import os; print(os.getcwd())"))
        assert (await ended(runtime, "fine")).exit_code == 0
        await says(runtime, "fine", "Häuschen {x}/jobs/fine/work")


async def test_names_that_would_leave_the_home_are_those_of_unknown_jobs(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        for name in ("../x", "a/b", "", ".", "..", "a\0b", "x" * 300):
            assert await runtime.observe_jobs([name]) == {}
            await runtime.delete(name)
        with pytest.raises(ValueError, match="cannot be the name"):
            await runtime.apply(replace(workshop.job("x", "pass"), name="../x"))


async def test_a_witness_that_cannot_write_its_note_starts_no_program(workshop: Workshop) -> None:
    in_the_way = workshop.slot("unnoted") / "attempts/1/.process.json"
    in_the_way.mkdir(parents=True)
    async with workshop.runtime() as runtime:
        await runtime.apply(workshop.job("unnoted", "open('ran', 'a').write('x')"))
        await job_when(runtime, "unnoted", lambda seen: seen.reason == "LaunchFailed")
        in_the_way.rmdir()
        assert (await ended(runtime, "unnoted")).exit_code == 0
    assert (workshop.slot("unnoted") / "work/ran").read_text() == "x"


async def test_a_wish_of_another_version_hides_its_own_job_alone(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        strange = workshop.job("strange", SLEEP)
        await runs(runtime, strange)
        wish = workshop.slot("strange") / "wish.json"
        wish.write_text(json.dumps({"spec": {"tomorrow": 1}}))
        await runtime.apply(workshop.job("plain", "pass"))
        assert (await ended(runtime, "plain")).exit_code == 0
        assert await runtime.observe_jobs(["strange"]) == {}
        with pytest.raises(RuntimeUnavailable, match="another version"):
            await runtime.apply(strange)


async def test_a_disk_that_does_not_serve_is_an_outage(workshop: Workshop) -> None:
    async with workshop.runtime() as runtime:
        await runtime.check()
        (workshop.home / "jobs").rmdir()
        (workshop.home / "jobs").write_text("in the way")
        with pytest.raises(RuntimeUnavailable):
            await runtime.apply(workshop.job("homeless", "pass"))
    with pytest.raises(RuntimeUnavailable):
        await runtime.check()
