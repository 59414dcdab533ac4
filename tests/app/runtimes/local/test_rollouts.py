"""Rollouts of real processes: on the last GPU, through a restart of the gateway, and of what an older one left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from app.core.specs import ServerSpec
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation
from app.runtimes.local.rollouts import next_step
from app.runtimes.local.runtime import LocalRuntime
from tests.app.runtimes.local.workshop import SERVER, Workshop, until

UNREADY = SERVER.replace("int(open(", "503 if 1 else int(open(")


def made_of(spec: ServerSpec) -> Callable[[ServerObservation], bool]:
    return lambda seen: (
        [one.state for one in seen.replicas] == [ProcessState.RUNNING] * spec.replicas
        and all(one.digest == spec.digest for one in seen.replicas)
    )


async def server_when(runtime: LocalRuntime, wanted: Callable[[ServerObservation], bool]) -> ServerObservation:
    async def look() -> ServerObservation | None:
        seen = (await runtime.observe_servers(["serve"])).get("serve")
        return seen if seen and wanted(seen) else None

    return await until(look)


def gpu(spec: ServerSpec) -> ServerSpec:
    return replace(spec, resources=replace(spec.resources, gpus=1))


def server(workshop: Workshop, version: str, source: str = SERVER, replicas: int = 1) -> ServerSpec:
    return replace(workshop.server(f"serve-{version}", source, replicas=replicas), name="serve", uid="u")


def is_unready(seen: ServerObservation) -> bool:
    return any(one.reason == "NotReady" for one in seen.replicas)


async def test_a_rollout_goes_on_with_the_next_gateway_and_old_replicas_stay_what_they_were(workshop: Workshop) -> None:
    old, broken, new = (
        server(workshop, "old", replicas=2),
        server(workshop, "broken", UNREADY, 2),
        server(workshop, "new"),
    )
    async with workshop.runtime() as runtime:
        await runtime.apply(old)
        await server_when(runtime, made_of(old))
        await runtime.apply(broken)
        await server_when(runtime, is_unready)
    await workshop.stop_all()
    async with workshop.runtime() as runtime:
        seen = await server_when(
            runtime,
            lambda seen: (
                is_unready(seen) and sum(one.digest == old.digest and _ready(one) for one in seen.replicas) == 2
            ),
        )
        assert len(seen.replicas) == 3
        await runtime.apply(new)
    async with workshop.runtime() as runtime:
        await server_when(runtime, made_of(new))


def _ready(one: ReplicaObservation) -> bool:
    return one.state is ProcessState.RUNNING


async def test_with_a_free_gpu_the_old_replica_stays_and_without_one_it_makes_room(workshop: Workshop) -> None:
    old, new, newer = (gpu(server(workshop, version)) for version in ("old", "new", "newer"))
    async with workshop.runtime(gpus=2) as runtime:
        await runtime.apply(old)
        await server_when(runtime, made_of(old))
        await runtime.apply(new)
        both = await server_when(runtime, lambda seen: any(one.digest == new.digest for one in seen.replicas))
        assert any(one.digest == old.digest and _ready(one) for one in both.replicas)
        await server_when(runtime, made_of(new))
    async with workshop.runtime(gpus=1) as runtime:
        await runtime.apply(newer)
        await server_when(runtime, made_of(newer))


async def test_what_an_older_platform_launched_runs_on_and_is_rolled_out_when_it_changes(workshop: Workshop) -> None:
    old, new = server(workshop, "old"), server(workshop, "new")
    async with workshop.runtime() as runtime:
        await runtime.apply(old)
        before = await server_when(runtime, made_of(old))
    (workshop.home / "servers/serve/replicas/0/spec.json").unlink()
    note = workshop.home / "servers/serve/observed.json"
    seen = json.loads(note.read_text())
    del seen["seen"]["digest"], seen["seen"]["replicas"][0]["digest"]
    note.write_text(json.dumps(seen))
    async with workshop.runtime() as runtime:
        assert (await server_when(runtime, made_of(old))).replicas[0].restarts == before.replicas[0].restarts
        await runtime.apply(new)
        await server_when(runtime, made_of(new))


class One:
    def __init__(self, ready: bool) -> None:
        self.ready = ready


UP, DOWN = One(ready=True), One(ready=False)


def test_each_step_takes_one_at_a_time_and_nothing_that_answers_before_another_does() -> None:
    assert next_step(3, [UP] * 3, [], in_place=False) == (1, [])
    assert next_step(3, [UP] * 3, [DOWN], in_place=False) == (0, [])
    assert next_step(3, [UP] * 3, [UP], in_place=False) == (0, [UP])
    assert next_step(3, [UP] * 2, [UP], in_place=False) == (1, [])
    assert next_step(1, [DOWN], [DOWN], in_place=False) == (0, [])
    assert next_step(1, [UP], [], in_place=True) == (0, [UP])
    assert next_step(3, [UP] * 2, [DOWN], in_place=True) == (0, [])
    assert next_step(2, [], [UP, DOWN, DOWN], in_place=False) == (0, [DOWN])
    assert next_step(0, [UP, UP], [], in_place=False) == (0, [UP, UP])
