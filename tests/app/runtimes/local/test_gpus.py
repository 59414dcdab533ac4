"""GPUs by count: which there are, who gets them, and who waits."""

from __future__ import annotations

from pathlib import Path

from app.core.errors import NeverFits
from app.runtimes.base import ProcessState
from app.runtimes.local.gpus import Pool, devices
from tests.app.runtimes.local.workshop import Workshop, ended, job_when, says

HOLD = "import os, time\nprint('ready', os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\ntime.sleep(60)"
SHOW = "import os\nprint('got', os.environ['CUDA_VISIBLE_DEVICES'])"


async def test_gpus_go_from_hand_to_hand_and_no_two_share_one(workshop: Workshop) -> None:
    async with workshop.runtime(gpus=3) as runtime:
        await runtime.apply(workshop.job("one", HOLD, gpus=1))
        await says(runtime, "one", "ready 0")
        await runtime.apply(workshop.job("two", HOLD, gpus=2))
        await says(runtime, "two", "ready 1,2")
        await runtime.apply(workshop.job("three", SHOW, gpus=2))
        seen = await job_when(runtime, "three", lambda seen: seen.reason == "Unschedulable")
        assert seen.message == "It asks for 2 GPUs; 0 of 3 are free, held by: job one (1), job two (2)."
        await runtime.stop("one")
        await ended(runtime, "one")
        assert (await job_when(runtime, "three")).state is ProcessState.WAITING
        await runtime.stop("two")
        await says(runtime, "three", "got 0,1")


async def test_the_next_gateway_knows_who_holds_what(workshop: Workshop) -> None:
    async with workshop.runtime(gpus=2) as runtime:
        await runtime.apply(workshop.job("one", HOLD, gpus=1))
        await says(runtime, "one", "ready 0")
    async with workshop.runtime(gpus=2) as runtime:
        await runtime.apply(workshop.job("two", SHOW, gpus=1))
        await says(runtime, "two", "got 1")


def test_a_small_task_does_not_overtake_a_large_one() -> None:
    pool = Pool(("0", "1", "2"), {"job early": ("0", "1")})
    assert pool.take("job large", 3) is None
    assert pool.take("job small", 1) is None
    assert pool.why_waiting("job small", 1) == (
        "It asks for 1 GPU; 1 of 3 are free, held by: job early (2). job large is first in line."
    )
    assert pool.take("job without", 0) == ()


def test_devices_are_counted_unless_told(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert devices({}, None, tmp_path) == ("0", "1", "10")
    assert devices({}, 2, tmp_path) == ("0", "1")
    assert devices({}, 0, tmp_path) == ()
    assert devices({}, 4, tmp_path) == ("0", "1", "2", "3")
    assert devices({"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}, None, tmp_path) == ("GPU-a", "GPU-b")
    assert devices({"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, 1, tmp_path) == ("GPU-a",)
    assert devices({"CUDA_VISIBLE_DEVICES": ""}, None, tmp_path) == ()


async def test_a_machine_without_gpus_refuses_who_needs_one(workshop: Workshop) -> None:
    async with workshop.runtime(gpus=0) as runtime:
        try:
            runtime.admit(workshop.job("greedy", SHOW, gpus=1))
        except NeverFits as refusal:
            assert refusal.detail == "It asks for 1 GPU; there are 0 in all."
        else:
            raise AssertionError("It was admitted.")
