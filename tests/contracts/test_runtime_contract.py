"""What every runtime promises, whatever it is made of. A new body joins in `runtime_bodies.BODIES`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.errors import FrameworkMissing, LogNotFound, NeverFits, QueueUnavailable, RuntimeUnavailable
from app.core.specs import Resources
from app.runtimes.base import ProcessState, ReplicaObservation, Runtime, ServerObservation
from tests.contracts.runtime_actor import DIE_ONCE, END, SERVE, STARE, WAIT, Act
from tests.contracts.runtime_bodies import (
    BODIES,
    GPUS,
    INSTALL,
    WITHOUT_IMAGES,
    Body,
    exited,
    gone,
    job,
    log_of,
    program,
    ready,
    rolled_out,
    running_and_heard,
    server,
    until_job,
    until_server,
)  # fmt: skip

EXITED, RUNNING, STARTING, WAITING = (
    ProcessState.EXITED, ProcessState.RUNNING, ProcessState.STARTING, ProcessState.WAITING
)  # fmt: skip


@pytest.fixture(
    params=[pytest.param(body, marks=pytest.mark.xdist_group(f"runtime-{body.__name__}")) for body in BODIES],
    ids=lambda body: body.__name__,
)
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Runtime]:
    async with request.param(tmp_path) as body:
        yield body


async def test_what_was_never_applied_is_absent_and_harmless(runtime: Runtime) -> None:
    assert await runtime.observe_jobs(["nobody"]) == {}
    assert await runtime.observe_servers(["nobody"]) == {}
    await runtime.stop("nobody")
    await runtime.delete("nobody")
    with pytest.raises(LogNotFound):
        await runtime.read_log("nobody")
    with pytest.raises(LogNotFound):
        await runtime.log_offset("nobody", tail_lines=1)


async def test_a_job_runs_to_its_end_and_says_how_it_was(runtime: Runtime) -> None:
    spec = job(Act(END, says=("hello",)))
    runtime.admit(spec)
    await runtime.apply(spec)
    seen = await exited(runtime)
    assert seen.termination is not None
    assert (seen.uid, seen.termination.reason, seen.termination.exit_code) == ("u1", "Completed", 0)
    assert seen.started_at is not None and seen.started_at <= seen.termination.finished_at
    chunk = await runtime.read_log("train-a")
    assert (chunk.content, chunk.finished) == (b"run 1\nhello\n", True)


async def test_a_program_gives_the_reason_of_its_own_end(runtime: Runtime) -> None:
    await runtime.apply(job(Act(END, exit_code=3, reason="DataUnreadable", message="The file is empty.")))
    termination = (await exited(runtime)).termination
    assert termination is not None
    assert (termination.reason, termination.exit_code) == ("DataUnreadable", 3)
    assert termination.message == "The file is empty."


async def test_a_program_that_says_nothing_and_fails_has_crashed(runtime: Runtime) -> None:
    await runtime.apply(job(Act(END, exit_code=1)))
    termination = (await exited(runtime)).termination
    assert termination is not None
    assert (termination.reason, termination.exit_code) == ("Crashed", 1)
    assert termination.message


async def test_a_job_that_is_applied_again_and_again_runs_once(runtime: Runtime) -> None:
    spec = job(Act(WAIT))
    await asyncio.gather(*(runtime.apply(spec) for _ in range(5)))
    await running_and_heard(runtime)
    await runtime.apply(spec)
    await runtime.stop("train-a")
    await exited(runtime)
    await runtime.apply(spec)
    assert (await exited(runtime)).state is EXITED
    assert await log_of(runtime) == b"run 1\n"


async def test_a_job_is_stopped_and_keeps_its_log(runtime: Runtime) -> None:
    await runtime.apply(job(Act(WAIT, exit_code=1)))
    await running_and_heard(runtime)
    assert not (await runtime.read_log("train-a")).finished
    await asyncio.gather(*(runtime.stop("train-a") for _ in range(3)))
    seen = await exited(runtime)
    assert seen.termination is not None
    assert seen.termination.reason == "Stopped"
    await runtime.stop("train-a")
    assert (await runtime.observe_jobs(["train-a"]))["train-a"] == seen
    assert await log_of(runtime) == b"run 1\n"


async def test_an_interrupted_job_runs_again_in_its_folder_and_goes_on_with_its_log(runtime: Runtime) -> None:
    spec = job(Act(WAIT, exit_code=1, reason="Interrupted", message="A checkpoint was left."))
    await runtime.apply(spec)
    await running_and_heard(runtime)
    await runtime.stop("train-a")
    assert (await exited(runtime)).reason == "Interrupted"
    await runtime.apply(spec)
    assert (await runtime.observe_jobs(["train-a"]))["train-a"].state is not EXITED
    await running_and_heard(runtime, text=b"run 2\n")
    assert await log_of(runtime) == b"run 1\nrun 2\n"
    await runtime.stop("train-a")
    assert (await exited(runtime)).reason == "Interrupted"


async def test_deleting_a_running_job_leaves_nothing_and_its_name_is_free(runtime: Runtime) -> None:
    await runtime.apply(job(Act(WAIT)))
    await running_and_heard(runtime)
    await runtime.delete("train-a")
    await runtime.delete("train-a")
    await gone(runtime, "train-a")
    with pytest.raises(LogNotFound):
        await runtime.read_log("train-a")
    await runtime.apply(job(Act(END), uid="u2"))
    assert (await exited(runtime)).uid == "u2"
    assert await log_of(runtime) == b"run 1\n"


async def test_a_name_is_taken_until_its_earlier_life_is_gone(runtime: Runtime) -> None:
    await runtime.apply(job(Act(END)))
    await exited(runtime)
    with pytest.raises(RuntimeUnavailable):
        await runtime.apply(job(Act(END), uid="u2"))
    assert (await runtime.observe_jobs(["train-a"]))["train-a"].uid == "u1"


async def test_a_job_waits_for_gpus_and_gets_them(runtime: Runtime) -> None:
    await runtime.apply(job(Act(WAIT), "first", gpus=2))
    await running_and_heard(runtime, "first")
    await runtime.apply(job(Act(END), "second", gpus=1))
    seen = await until_job(runtime, "second", lambda seen: seen.reason == "Unschedulable")
    assert seen.state is WAITING
    assert "1 GPU" in seen.message and "0 of 2" in seen.message
    with pytest.raises(LogNotFound):
        await runtime.read_log("second")
    await runtime.stop("first")
    assert (await exited(runtime, "second")).reason == "Completed"


async def test_a_waiting_job_can_be_stopped(runtime: Runtime) -> None:
    await runtime.apply(job(Act(WAIT), "first", gpus=2))
    await runtime.apply(job(Act(END), "second", gpus=1))
    await until_job(runtime, "second", lambda seen: seen.reason == "Unschedulable")
    await runtime.stop("second")
    termination = (await exited(runtime, "second")).termination
    assert termination is not None
    assert (termination.reason, termination.exit_code) == ("Stopped", None)


async def test_a_job_that_waits_beyond_its_deadline_ends_so(runtime: Runtime) -> None:
    await runtime.apply(job(Act(WAIT), "first", gpus=2))
    await runtime.apply(job(Act(END), "second", gpus=1, deadline=0.2))
    assert (await exited(runtime, "second")).reason == "DeadlineExceeded"


async def test_a_job_that_runs_beyond_its_deadline_ends_so_and_does_not_run_again(runtime: Runtime) -> None:
    spec = job(Act(WAIT, exit_code=1, reason="Interrupted", message="A checkpoint was left."), longest=3)
    await runtime.apply(spec)
    await running_and_heard(runtime)
    seen = await exited(runtime)
    assert seen.reason == "DeadlineExceeded" and "longer than 3 s" in seen.message
    await runtime.apply(spec)
    assert (await exited(runtime)).reason == "DeadlineExceeded"
    assert await log_of(runtime) == b"run 1\n"


async def test_the_run_in_mlflow_is_noted_any_number_of_times(runtime: Runtime) -> None:
    await runtime.note_run("nobody", "r1")
    await runtime.apply(job(Act(END)))
    for _ in range(2):
        await runtime.note_run("train-a", "r1")
    assert (await exited(runtime)).reason == "Completed"


async def test_what_can_never_run_is_refused(runtime: Runtime) -> None:
    with pytest.raises(NeverFits):
        runtime.admit(job(Act(END), gpus=GPUS + 1))
    runtime.admit(job(Act(END), gpus=GPUS))
    assert await runtime.observe_jobs(["train-a"]) == {}


@pytest.mark.parametrize("body", WITHOUT_IMAGES, ids=lambda body: body.__name__)
async def test_on_one_machine_what_exceeds_its_memory_is_refused(body: Body, tmp_path: Path) -> None:
    async with body(tmp_path) as runtime:
        _too_much_memory_is_refused(runtime)


def _too_much_memory_is_refused(runtime: Runtime) -> None:
    with pytest.raises(NeverFits):
        runtime.admit(replace(job(Act(END)), resources=Resources(1000, 1 << 60)))
    with pytest.raises(NeverFits) as too_many:
        runtime.admit(server(Act(SERVE), replicas=1 << 30))
    assert [cause.pointer for cause in too_many.value.causes] == ["/replicas"]


@pytest.mark.parametrize("body", WITHOUT_IMAGES, ids=lambda body: body.__name__)
async def test_without_images_what_lacks_a_package_is_refused(body: Body, tmp_path: Path) -> None:
    async with body(tmp_path) as runtime:
        await _lacking_is_refused(runtime)


@pytest.mark.parametrize("body", WITHOUT_IMAGES, ids=lambda body: body.__name__)
async def test_where_there_are_no_queues_one_that_is_asked_for_is_refused(body: Body, tmp_path: Path) -> None:
    async with body(tmp_path) as runtime:
        with pytest.raises(QueueUnavailable) as refusal:
            runtime.admit(replace(job(Act(END)), queue="team-a"))
        assert [cause.pointer for cause in refusal.value.causes] == ["/queue"]


async def _lacking_is_refused(runtime: Runtime) -> None:
    lacking = replace(program(Act(END)), requires=("json", "no_such_framework"))
    with pytest.raises(FrameworkMissing) as refusal:
        runtime.admit(replace(job(Act(END)), program=lacking))
    assert refusal.value.install == INSTALL
    assert "no_such_framework" in refusal.value.detail and "json" not in refusal.value.detail
    assert await runtime.observe_jobs(["train-a"]) == {}


async def test_rendering_launches_nothing_and_is_plain_json(runtime: Runtime) -> None:
    assert json.loads(json.dumps(runtime.render(job(Act(END)))))
    assert json.loads(json.dumps(runtime.render(server(Act(SERVE)))))
    assert await runtime.observe_jobs(["train-a"]) == {}


async def test_a_runtime_says_what_it_can_give(runtime: Runtime) -> None:
    await runtime.check()
    found = await runtime.capabilities()
    assert found.gpus == GPUS and found.name


async def test_replicas_become_ready_at_addresses_of_their_own(runtime: Runtime) -> None:
    await runtime.apply(server(Act(SERVE), replicas=2))
    seen = await until_server(runtime, ready(2))
    assert (seen.uid, seen.wanted, seen.name) == ("u1", 2, "serve-a")
    assert [replica.name for replica in seen.replicas] == ["serve-a-0", "serve-a-1"]
    addresses = {replica.address for replica in seen.replicas}
    assert len(addresses) == 2 and None not in addresses
    assert await log_of(runtime, "serve-a", replica=1) == b"run 1\n"
    with pytest.raises(LogNotFound):
        await runtime.read_log("serve-a", replica=2)


async def test_a_server_scales_up_and_down_and_to_nothing(runtime: Runtime) -> None:
    await runtime.apply(server(Act(SERVE), replicas=1))
    first = (await until_server(runtime, ready(1))).replicas[0]
    await runtime.apply(server(Act(SERVE), replicas=3))
    assert (await until_server(runtime, ready(3))).replicas[0] == first
    await runtime.apply(server(Act(SERVE), replicas=1))
    assert (await until_server(runtime, ready(1))).replicas == (first,)
    await runtime.apply(server(Act(SERVE), replicas=0))
    assert (await until_server(runtime, ready(0))).wanted == 0


async def test_a_changed_server_is_rolled_out_and_something_answers_all_the_time(runtime: Runtime) -> None:
    before, after = server(Act(SERVE, says=("old",)), replicas=2), server(Act(SERVE, says=("new",)), replicas=2)
    await runtime.apply(before)
    assert (await until_server(runtime, rolled_out(before))).digest == before.digest
    await runtime.apply(after)
    fewest = 2

    def over(seen: ServerObservation) -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(replica.state is RUNNING for replica in seen.replicas))
        return rolled_out(after)(seen)

    assert (await until_server(runtime, over)).digest == after.digest
    assert fewest == 2
    assert await log_of(runtime, "serve-a", replica=1) == b"run 1\nnew\n"
    with pytest.raises(LogNotFound):
        await runtime.read_log("serve-a", replica=2)


async def test_while_new_replicas_are_not_ready_the_old_ones_stay_and_going_back_ends_the_new(runtime: Runtime) -> None:
    before, broken = server(Act(SERVE), replicas=2), server(Act(STARE, reason="Broken", message="No."), replicas=2)
    await runtime.apply(before)
    old = (await until_server(runtime, rolled_out(before))).replicas
    await runtime.apply(broken)

    def stuck(seen: ServerObservation) -> bool:
        assert {one.address for one in seen.replicas if one.state is RUNNING} >= {one.address for one in old}
        return any(one.reason == "Broken" and one.digest == broken.digest for one in seen.replicas)

    assert len((await until_server(runtime, stuck)).replicas) == 3
    await runtime.apply(before)
    left = await until_server(runtime, rolled_out(before))
    assert {one.address for one in left.replicas} == {one.address for one in old}


async def test_on_the_last_gpu_an_old_replica_makes_room_for_the_new_one(runtime: Runtime) -> None:
    before, after = server(Act(SERVE), gpus=GPUS), server(Act(SERVE, says=("new",)), gpus=GPUS)
    await runtime.apply(before)
    await until_server(runtime, rolled_out(before))
    await runtime.apply(after)
    await until_server(runtime, rolled_out(after))


async def test_a_rollout_that_another_overtakes_ends_with_the_last(runtime: Runtime) -> None:
    specs = [server(Act(SERVE, says=(str(number),)), replicas=2) for number in range(4)]
    await runtime.apply(specs[0])
    await until_server(runtime, rolled_out(specs[0]))
    for spec in specs[1:]:
        await runtime.apply(spec)
    await until_server(runtime, rolled_out(specs[-1]))


async def test_a_replica_that_is_not_ready_says_why(runtime: Runtime) -> None:
    await runtime.apply(server(Act(STARE, reason="Downloading", message="The model is on its way.")))
    seen = await until_server(runtime, lambda seen: any(one.reason == "Downloading" for one in seen.replicas))
    assert (seen.replicas[0].state, seen.replicas[0].message) == (STARTING, "The model is on its way.")


async def test_a_replica_that_crashes_is_started_again(runtime: Runtime) -> None:
    await runtime.apply(server(Act(DIE_ONCE)))
    replica: ReplicaObservation = (await until_server(runtime, ready(1))).replicas[0]
    assert replica.restarts == 1
    assert replica.last_termination is not None
    assert (replica.last_termination.reason, replica.last_termination.exit_code) == ("Crashed", 9)


async def test_deleting_a_server_takes_all_of_it(runtime: Runtime) -> None:
    await runtime.apply(server(Act(SERVE), replicas=2))
    await until_server(runtime, ready(2))
    await runtime.delete("serve-a")
    await gone(runtime, "serve-a")
    with pytest.raises(LogNotFound):
        await runtime.read_log("serve-a")


async def test_a_log_is_read_from_any_offset_in_pieces_of_any_size(runtime: Runtime) -> None:
    await runtime.apply(job(Act(END, says=("one", "two", "three"))))
    await exited(runtime)
    whole = b"run 1\none\ntwo\nthree\n"
    read, offset = b"", 0
    while not (chunk := await runtime.read_log("train-a", offset=offset, limit=7)).finished:
        assert (chunk.offset, chunk.end) == (offset, offset + len(chunk.content)) and len(chunk.content) <= 7
        read, offset = read + chunk.content, chunk.end
    assert read + chunk.content == whole
    beyond = await runtime.read_log("train-a", offset=len(whole))
    assert (beyond.content, beyond.finished) == (b"", True)


async def test_the_last_lines_of_a_log_are_found(runtime: Runtime) -> None:
    await runtime.apply(job(Act(END, says=("one", "two", "three"))))
    await exited(runtime)
    for lines, rest in ((0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (99, b"run 1\none\ntwo\nthree\n")):
        offset = await runtime.log_offset("train-a", tail_lines=lines)
        assert (await runtime.read_log("train-a", offset=offset)).content == rest
    assert await runtime.log_offset("train-a") == 0


async def test_a_log_is_found_by_time(runtime: Runtime) -> None:
    before = datetime.now(UTC) - timedelta(seconds=10)
    await runtime.apply(job(Act(END, says=("one",))))
    end = (await exited(runtime)).termination
    assert end is not None
    size = len(await log_of(runtime))
    assert await runtime.log_offset("train-a", since=before) == 0
    assert await runtime.log_offset("train-a", since=end.finished_at + timedelta(seconds=10)) == size
    assert await runtime.log_offset("train-a", since=before, tail_lines=0) == size


async def test_a_job_exists_from_its_launch_to_its_deletion(runtime: Runtime) -> None:
    assert not await runtime.exists("train-a")
    await runtime.apply(job(Act(END)))
    assert await runtime.exists("train-a")
    await exited(runtime)
    assert await runtime.exists("train-a")
    await runtime.delete("train-a")
    await gone(runtime, "train-a")
    assert not await runtime.exists("train-a")
