"""A log that was shipped holds every byte once, in order, however rude the node; what is missing is stated."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from app.archive.chain import Chain
from app.core.errors import LogNotFound
from app.runtimes.base import LogChunk
from app.runtimes.kubernetes.kept_logs import KeptLogs
from tests.app.runtimes.kubernetes.rude_logs import Container, Yard, a_yard

T = TypeVar("T")
NAME, POD, WHOLE = "train-a", "train-a-x", 1 << 30


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with a_yard(tmp_path / "archive") as yard:
        yield yard


def writes(container: Container, *lines: bytes, at: float = 0.0) -> bytes:
    for number, line in enumerate(lines):
        container.lines.append((at + number / 1000, line))
    return b"".join(lines)


async def read(logs: KeptLogs, limit: int = WHOLE) -> bytes:
    try:
        return (await logs.chunk(NAME, 0, 0, limit)).content
    except LogNotFound:
        return b""


async def until(so: Callable[[], Awaitable[T]]) -> T:
    """Look until there is something."""
    async with asyncio.timeout(20):
        while True:
            if found := await so():
                return found
            await asyncio.sleep(0.02)


async def reads(logs: KeptLogs, wanted: bytes) -> None:
    async def so() -> bool:
        return await read(logs) == wanted

    try:
        await until(so)
    except TimeoutError:
        assert await read(logs) == wanted


async def finished(logs: KeptLogs) -> bytes:
    async def so() -> LogChunk | None:
        chunk = await logs.chunk(NAME, 0, 0, WHOLE)
        return chunk if chunk.finished else None

    chunk = await until(so)
    assert chunk is not None
    return chunk.content


async def test_a_log_is_read_while_it_is_written_and_after_its_pod_is_gone(yard: Yard) -> None:
    async with yard.gateway() as logs:
        container = yard.pod(POD)
        first = writes(container, b"one\n", b"two\n")
        await reads(logs, first)
        second = writes(container, b"three\n", b"no line feed", at=1)
        yard.pod(POD, ended=True)
        assert await finished(logs) == first + second
        yard.remove(POD)
        assert await finished(logs) == first + second
    async with yard.gateway() as another:
        assert await finished(another) == first + second
        assert await another.offset_of(NAME, 0, 1, None) == len(b"one\ntwo\nthree\n")


async def test_a_gateway_that_comes_in_mid_log_goes_on_where_the_last_one_was_killed(yard: Yard) -> None:
    container = yard.pod(POD)
    whole = b""
    for round_ in range(4):
        async with yard.gateway() as logs:
            whole += writes(container, *(b"%d %d\n" % (round_, number) for number in range(50)), at=round_ / 10)
            await reads(logs, whole)
    yard.pod(POD, ended=True)
    async with yard.gateway() as logs:
        assert await finished(logs) == whole
    assert any(since for _, _, since in yard.node.asked)


async def test_streams_that_break_in_mid_line_repeat_or_end_too_early_double_and_lose_nothing(yard: Yard) -> None:
    container = yard.pod(POD)
    container.breaks_after, container.closes_early = [333, 7000, 31, 20_000], 2
    whole = writes(container, *(b"line %d\n" % number for number in range(300)), b"y" * 50_000 + b"\n", b"\n", b"\n")
    async with yard.gateway() as logs:
        await reads(logs, whole)
        whole += writes(container, b"the end\n", at=5)
        yard.pod(POD, ended=True)
        assert await finished(logs) == whole


async def test_lines_of_one_moment_and_equal_lines_are_told_apart(yard: Yard) -> None:
    container = yard.pod(POD)
    container.lines = [(1.0, b"same\n")] * 21
    async with yard.gateway() as logs:
        await reads(logs, b"same\n" * len(container.lines))
    container.lines += [(1.0, b"same\n"), (0.5, b"the clock went back\n"), (0.5, b"same\n")]
    yard.pod(POD, ended=True)
    async with yard.gateway() as logs:
        assert await finished(logs) == b"same\n" * 22 + b"the clock went back\nsame\n"


@pytest.mark.parametrize("size", [16383, 16384, 16385, 32768, 70_000, 3_000_000])
async def test_long_lines_with_or_without_their_line_feed_keep_every_byte(yard: Yard, size: int) -> None:
    container = yard.pod(POD)
    noise = random.Random(size).randbytes(size).replace(b"\n", b" ")
    whole = writes(container, noise + b"\n", b"short\n", noise)
    yard.pod(POD, ended=True)
    async with yard.gateway() as logs:
        assert await finished(logs) == whole


async def test_a_gateway_that_was_killed_in_a_long_line_goes_on_in_it(yard: Yard) -> None:
    container = yard.pod(POD)
    line = bytes(range(32, 127)) * 1000
    container.lines = [(0.0, line[:40_000])]
    async with yard.gateway() as logs:
        await reads(logs, line[:32768])
    container.lines = [(0.0, line + b"\n"), (0.1, b"next\n")]
    yard.pod(POD, ended=True)
    async with yard.gateway() as logs:
        assert await finished(logs) == line + b"\nnext\n"


async def test_two_gateways_that_ship_at_once_make_one_log(yard: Yard) -> None:
    container = yard.pod(POD)
    whole = b""
    async with yard.gateway() as one, yard.gateway() as two:
        for round_ in range(5):
            whole += writes(container, *(b"%d %d\n" % (round_, number) for number in range(100)), at=round_)
            await reads(one, whole)
            await reads(two, whole)
        yard.pod(POD, ended=True)
        assert await finished(one) == await finished(two) == whole


async def test_a_gateway_that_does_not_ship_reads_what_the_other_shipped(yard: Yard) -> None:
    async with yard.gateway(acts=False) as idle:
        container = yard.pod(POD)
        whole = writes(container, b"one\n")
        assert await read(idle) == b""
        async with yard.gateway() as acting:
            await reads(acting, whole)
            await reads(idle, whole)


async def test_what_the_node_rotated_away_is_stated_and_offsets_stay(yard: Yard) -> None:
    container = yard.pod(POD)
    first = writes(container, b"one\n", b"two\n")
    async with yard.gateway() as logs:
        await reads(logs, first)
    container.lines = [(30.0, b"much later\n")]
    yard.pod(POD, ended=True)
    async with yard.gateway() as logs:
        whole = await finished(logs)
    assert whole.startswith(first + b"[modelyard: an unknown part of the log is missing here: the node had rotated")
    assert whole.endswith(b"]\nmuch later\n") and whole.count(b"modelyard") == 1


async def test_a_log_that_is_first_read_late_says_that_its_beginning_may_be_missing(yard: Yard) -> None:
    container = yard.pod(POD)
    container.lines = [(400.0, b"line 400\n")]
    async with yard.gateway() as logs:
        found = await until(lambda: read(logs))
    assert b"begins 400 s after the program" in found and found.endswith(b"]\nline 400\n")


async def test_a_pod_that_is_gone_before_its_log_was_read_leaves_a_stated_gap(yard: Yard) -> None:
    container = yard.pod(POD)
    first = writes(container, b"one\n")
    async with yard.gateway() as logs:
        await reads(logs, first)
    writes(container, b"never read\n", at=1)
    yard.remove(POD)
    async with yard.gateway(acts=False) as logs:
        whole = await finished(logs)
        assert whole.startswith(first + b"[modelyard: ") and b"its pod was gone" in whole
        assert await finished(logs) == whole


async def test_the_runs_of_a_job_make_one_log(yard: Yard) -> None:
    first = writes(yard.pod(POD), b"run 1\n")
    async with yard.gateway() as logs:
        yard.pod(POD, ended=True)
        assert await finished(logs) == first
        second = writes(yard.pod("train-a-y", run=2), b"run 2\n", at=9)
        await reads(logs, first + second)
        assert not (await logs.chunk(NAME, 0, 0, WHOLE)).finished
        yard.remove(POD)
        yard.pod("train-a-y", run=2, ended=True)
        assert await finished(logs) == first + second


async def test_what_a_node_says_in_the_place_of_a_log_is_no_log(yard: Yard) -> None:
    container = yard.pod(POD)
    container.says = b"unable to retrieve container logs for containerd://abc"
    async with yard.gateway() as logs:

        async def asked() -> bool:
            return len(yard.node.asked) >= 3

        await until(asked)
        assert await read(logs) == b""
        container.says = b""
        await reads(logs, writes(container, b"there it is\n"))


async def test_one_log_that_hangs_holds_up_no_other_and_an_end_frees_it(yard: Yard) -> None:
    async with yard.gateway() as logs:
        hanging = yard.pod("train-a-h", server=True)
        hanging.hangs = 1
        await reads(logs, writes(yard.pod(POD), b"fine\n"))


async def test_while_nothing_happens_nothing_is_asked(yard: Yard) -> None:
    async with yard.gateway() as logs:
        whole = writes(yard.pod(POD), b"one\n")
        yard.pod("train-a-z", ended=True)
        await reads(logs, whole)
        await asyncio.sleep(0.3)
        seen = len(yard.node.asked)
        await asyncio.sleep(1.5)  # the time in which a hasty one asks many times
        assert len(yard.node.asked) == seen


async def test_a_log_that_was_removed_is_gone_though_its_pod_still_writes(yard: Yard) -> None:
    async with yard.gateway() as logs:
        container = yard.pod(POD)
        await reads(logs, writes(container, b"one\n"))
        await logs.remove(NAME)
        writes(container, b"two\n", at=1)
        yard.pod(POD, ended=True)
        yard.remove(POD)
        with pytest.raises(LogNotFound):
            await logs.chunk(NAME, 0, 0, WHOLE)
        assert await yard.archive.entries("n/") == []


async def test_a_long_log_ends_in_few_large_links(yard: Yard) -> None:
    async with yard.gateway() as logs:
        container = yard.pod(POD)
        whole = b""
        for round_ in range(8):
            whole += writes(container, *(b"%d\n" % number for number in range(10)), at=round_)
            await reads(logs, whole)
        yard.pod(POD, ended=True)
        assert await finished(logs) == whole

        async def few() -> bool:
            return len(await yard.archive.entries(f"n/{NAME}/u1/job/")) <= 3

        await until(few)
        assert await finished(logs) == whole


async def test_what_the_cluster_said_of_a_pod_is_there_when_the_pod_is_gone(yard: Yard) -> None:
    async with yard.gateway() as logs:
        whole = writes(yard.pod(POD), b"one\n")
        yard.pod(POD, ended=True)
        assert await finished(logs) == whole
        yard.remove(POD)
    async with yard.stories() as stories:
        story = await stories.of(NAME)
    (run,) = story.runs
    assert (run.name, run.node, run.exit_code, run.reason) == (POD, "n1", 0, "Completed")
    assert {event.about for event in story.events} == {f"Pod/{POD}", f"Pod/{NAME}"}


async def test_a_replicas_log_goes_on_over_restarts_and_says_what_it_never_saw(yard: Yard) -> None:
    first = writes(yard.pod(POD, server=True), b"start 1\n")
    async with yard.gateway():
        prefix = f"n/{NAME}/u1/{POD}/"

        async def kept() -> bytes:
            chain = Chain(yard.archive, prefix)
            await chain.refresh()
            return await chain.read(0, WHOLE)

        async def begun() -> bool:
            return await kept() == first

        await until(begun)
        second = writes(yard.pod(POD, restarts=1, server=True), b"start 2\n", at=2)

        async def both() -> bool:
            return await kept() == first + second

        await until(both)
    writes(yard.pod(POD, restarts=4, server=True), b"start 5\n", at=8)
    writes(yard.node.pods[POD][3], b"start 4\n", at=6)
    async with yard.gateway():

        async def last() -> bool:
            return (await kept()).endswith(b"start 5\n")

        await until(last)
        lines = (await kept()).splitlines()
    assert lines[:2] == [b"start 1", b"start 2"] and lines[-2:] == [b"start 4", b"start 5"]
    assert all(line.startswith(b"[modelyard: ") for line in lines[2:-2]) and lines[2:-2]
