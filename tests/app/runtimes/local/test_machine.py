"""What this machine has, and what it refuses because it has less."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.errors import NeverFits
from app.core.specs import JobSpec, Resources, ServerSpec
from app.runtimes.local.machine import total_memory
from tests.app.runtimes.local.workshop import Workshop

GIB = 1 << 30
MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("membership", "limits", "total"),
    [
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "4096"}, 4096),
        ("0::/a/b", {"a/b/memory.max": "max"}, MACHINE),
        ("0::/above/ours", {"memory.max": "8192"}, 8192),
        ("5:cpu:/\n4:memory:/c\n0::/", {"memory/c/memory.limit_in_bytes": "4096"}, 4096),
        ("4:memory:/c", {"memory/memory.limit_in_bytes": str(1 << 63)}, MACHINE),
        ("4:cpu:/c", {}, MACHINE),
    ],
)
def test_the_lowest_limit_counts(membership: str, limits: dict[str, str], total: int, tmp_path: Path) -> None:
    (tmp_path / "own").write_text(f"{membership}\n")
    for name, text in limits.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    assert total_memory(tmp_path / "groups", tmp_path / "own") == total


def test_without_control_groups_the_machine_is_the_limit(tmp_path: Path) -> None:
    assert total_memory(tmp_path / "groups", tmp_path / "own") == MACHINE


def refusal_of(workshop: Workshop, spec: JobSpec | ServerSpec) -> NeverFits:
    async def ask() -> NeverFits:
        async with workshop.runtime(memory=4 * GIB) as runtime:
            with pytest.raises(NeverFits) as refusal:
                runtime.admit(spec)
        return refusal.value

    return asyncio.run(ask())


def test_a_job_that_asks_for_more_memory_than_there_is_is_refused(workshop: Workshop) -> None:
    refusal = refusal_of(workshop, replace(workshop.job("greedy", ""), resources=Resources(1000, 4 * GIB + 1)))
    assert refusal.causes[0].pointer == "/modelProfile"


def test_replicas_that_ask_together_for_more_memory_than_there_is_are_refused(workshop: Workshop) -> None:
    spec = replace(workshop.server("serve", replicas=3), resources=Resources(1000, 3 * GIB // 2))
    refusal = refusal_of(workshop, spec)
    assert refusal.detail == "It asks for 3 x 1.5 GiB memory; there are 4 GiB in all."
    assert refusal.causes[0].pointer == "/replicas"


def test_a_replica_that_is_too_large_alone_is_not_blamed_on_their_number(workshop: Workshop) -> None:
    refusal = refusal_of(workshop, replace(workshop.server("serve", replicas=3), resources=Resources(1000, 5 * GIB)))
    assert refusal.causes[0].pointer == "/modelProfile"


async def test_what_just_fits_is_admitted(workshop: Workshop) -> None:
    async with workshop.runtime(memory=4 * GIB) as runtime:
        runtime.admit(replace(workshop.job("large", ""), resources=Resources(1000, 4 * GIB)))
        runtime.admit(replace(workshop.server("serve", replicas=4), resources=Resources(1000, GIB)))
        runtime.admit(replace(workshop.server("asleep", replicas=0), resources=Resources(1000, GIB)))
