"""Logs outlive pods on a real cluster, and are the same for every gateway."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.archive.folder import FolderArchive
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.runtime import KubernetesRuntime
from app.runtimes.kubernetes.settings import KubernetesSettings
from tests.contracts.runtime_actor import DIE_ONCE, END, WAIT, Act
from tests.contracts.runtime_bodies import (
    exited,
    gone,
    job,
    log_of,
    ready,
    running_and_heard,
    server,
    until,
    until_server,
)

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")  # one namespace, so one after the other


@asynccontextmanager
async def a_gateway(settings: KubernetesSettings, folder: Path) -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime(settings, archive=FolderArchive(folder))
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.close()


async def test_a_log_and_its_story_are_there_when_pod_and_job_are_gone(
    settings: KubernetesSettings, client: Client, tmp_path: Path
) -> None:
    long = "x" * 40_000  # an old kubelet puts a time into it every 16 KiB
    whole = f"run 1\nhello\n{long}\n".encode()
    async with a_gateway(settings, tmp_path) as runtime:
        await runtime.apply(job(Act(END, says=("hello", long), exit_code=3), uid=str(uuid.uuid4())))
        await exited(runtime)
        assert await log_of(runtime) == whole
        await client.delete(client.path("batch/v1", "jobs", "train-a"))
        await gone(runtime, "train-a")
        chunk = await runtime.read_log("train-a")
        assert (chunk.content, chunk.finished) == (whole, True)
        assert await runtime.log_offset("train-a", tail_lines=1) == len(b"run 1\nhello\n")
        (run,) = (await runtime.story("train-a")).runs
        assert run.exit_code == 3 and run.node and run.image_id and run.ended_at is not None
        assert "Started" in {event.reason for event in (await runtime.story("train-a")).events}
    async with a_gateway(settings, tmp_path) as runtime:
        assert await log_of(runtime) == whole
        await runtime.delete("train-a")
    assert await FolderArchive(tmp_path).entries("") == []


async def test_a_log_goes_on_through_a_restart_of_the_gateway_and_is_the_same_for_two(
    settings: KubernetesSettings, tmp_path: Path
) -> None:
    async with a_gateway(settings, tmp_path) as runtime:
        await runtime.apply(job(Act(WAIT, says=("one", "two")), uid=str(uuid.uuid4())))
        await running_and_heard(runtime, text=b"run 1\none\ntwo\n")
    async with a_gateway(settings, tmp_path) as one, a_gateway(settings, tmp_path) as two:
        await running_and_heard(two, text=b"run 1\none\ntwo\n")
        await one.stop("train-a")
        await exited(one)
        await exited(two)
        assert await log_of(one) == await log_of(two) == b"run 1\none\ntwo\n"


async def test_a_replicas_log_goes_on_over_its_restarts(settings: KubernetesSettings, tmp_path: Path) -> None:
    async with a_gateway(settings, tmp_path) as runtime:
        await runtime.apply(server(Act(DIE_ONCE)))
        await until_server(runtime, ready(1))

        async def both() -> bool:
            return await log_of(runtime, "serve-a") == b"run 1\nrun 2\n"

        await until(both)
