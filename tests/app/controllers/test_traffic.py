"""What a gateway tells of its load and when, and that it wakes what is waited for, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from app.controllers.traffic import REPEAT_SECONDS, TrafficController
from app.core.routing import Load
from app.store.deployments import DeploymentStore
from app.store.loads import Demand, LoadStore


@dataclass
class World:
    """One gateway's proxy, and a store that remembers what it was asked."""

    now: float = 1000.0
    in_flight: int = 0
    held: int = 0
    leads: bool = False
    asleep: bool = False
    request_seconds: float = 0.0
    tried: list[str] = field(default_factory=list)
    told: list[Mapping[str, Demand]] = field(default_factory=list)
    woken: int = 0

    def __post_init__(self) -> None:
        self.controller = TrafficController(
            self.loads, lambda: {"t"}, cast(DeploymentStore, self), cast(LoadStore, self), lambda: self.leads,
            self._was_woken, lambda: self.now,
        )  # fmt: skip

    def loads(self) -> Mapping[str, Load]:
        load = Load(self.now, self.in_flight, self.held, 0, 0, self.request_seconds)
        return {"t": load, "fixed": load}

    def _was_woken(self) -> None:
        self.woken += 1

    async def wake(self, task_id: str) -> bool:
        self.tried.append(task_id)
        was, self.asleep = self.asleep, False
        return was

    async def report(self, demands: Mapping[str, Demand]) -> None:
        self.told.append(demands)

    async def passes(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self.request_seconds += step * (self.in_flight + self.held)
            await self.controller.round()


async def test_one_without_load_writes_nothing() -> None:
    world = World()
    await world.passes(100)
    assert world.told == []


async def test_a_steady_load_is_told_once_and_then_to_show_that_we_live() -> None:
    world = World()
    await world.passes(5)
    world.in_flight = 3
    await world.passes(100)  # until every window is full of it
    world.told.clear()
    await world.passes(30)
    assert world.told == [{"t": Demand(3, 3, True)}] * int(30 / REPEAT_SECONDS)


async def test_a_load_that_changes_is_told_once_a_second_at_most_and_its_end_once() -> None:
    world = World()
    for number in range(100):
        world.in_flight = number % 7
        await world.passes(0.1, step=0.1)
    assert 1 <= len(world.told) <= 10
    world.in_flight = 0
    await world.passes(70)
    assert world.told[-1] == {}
    world.told.clear()
    await world.passes(70)
    assert world.told == []


async def test_who_leads_keeps_it_to_itself() -> None:
    world = World(leads=True, in_flight=3)
    await world.passes(10)
    assert world.told == []
    assert world.controller.demands == {"t": Demand(3, 3, True)}


async def test_a_round_that_comes_late_hides_no_load() -> None:
    world = World(leads=True)
    await world.passes(5)
    world.now, world.held = world.now + 30, 5
    assert world.controller.demands["t"].busy


async def test_what_is_waited_for_is_woken_once_and_tried_once_a_second() -> None:
    world = World(held=1000, asleep=True)
    await world.passes(0.5, step=0.05)
    assert (world.tried, world.woken) == (["t"], 1)
    await world.passes(10)
    assert set(world.tried) == {"t"} and len(world.tried) <= 11
    assert world.woken == 1


@pytest.mark.parametrize("changes", [{"held": 0, "in_flight": 5}, {"held": 0}])
async def test_what_nobody_waits_for_is_not_woken(changes: dict[str, Any]) -> None:
    world = World(asleep=True, **changes)
    await world.passes(10)
    assert world.tried == []
