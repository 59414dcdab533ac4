"""How many replicas a load takes, on a clock that the test turns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest

from app.controllers.scaling import WAKING_SECONDS, Memory, Situation, decide
from app.controllers.windows import STABLE_SECONDS, Windows
from app.core.routing import Load
from app.core.scaling import Elastic
from app.store.loads import Demand

BOUNDS = Elastic(min_replicas=1, max_replicas=10, target_concurrency=10, idle_seconds=30)
SLEEPY = Elastic(min_replicas=0, max_replicas=10, target_concurrency=10, idle_seconds=30)


@dataclass
class World:
    """One deployment, whose replicas are ready as soon as they are decided on."""

    elastic: Elastic
    wanted: int = 1
    now: float = 1000.0
    memory: Memory = field(default_factory=lambda: Memory.fresh(1000.0))
    starved: int = 0
    settled: bool = True
    ready: int | None = None

    def after(self, seconds: float, demand: Demand) -> int:
        """The replicas after so long under the same demand, decided on each second."""
        for _ in range(max(1, math.ceil(seconds))):
            self.now += seconds / max(1, math.ceil(seconds))
            ready = self.wanted - self.starved if self.ready is None else self.ready
            seen = Situation(self.wanted, ready, self.starved, self.settled)
            decision, self.memory = decide(self.elastic, seen, demand, self.memory, self.now)
            self.wanted = decision.replicas
        return self.wanted


def steady(concurrency: float) -> Demand:
    return Demand(concurrency, concurrency, concurrency > 0)


@pytest.mark.parametrize(("concurrency", "replicas"), [(0, 1), (9, 1), (10, 1), (11, 2), (45, 5), (1000, 10)])
def test_each_replica_has_its_share_within_the_bounds(concurrency: float, replicas: int) -> None:
    assert World(BOUNDS).after(1, steady(concurrency)) == replicas


def test_a_burst_is_answered_by_the_panic_window() -> None:
    world = World(BOUNDS, wanted=2)
    assert world.after(1, Demand(stable=12, panic=29, busy=True)) == 2  # not twice what is ready
    assert world.after(1, Demand(stable=12, panic=31, busy=True)) == 4


def test_after_a_burst_nothing_is_taken_away_for_a_stable_window() -> None:
    world = World(BOUNDS)
    world.after(STABLE_SECONDS, steady(5))
    assert world.after(1, Demand(10, 80, True)) == 8
    assert world.after(STABLE_SECONDS - 1, steady(5)) == 8
    assert world.after(1, steady(5)) == 4  # at most half at a time
    assert world.after(2, steady(5)) == 1


def test_one_who_has_just_begun_to_lead_takes_nothing_away() -> None:
    world = World(BOUNDS, wanted=8)
    assert world.after(STABLE_SECONDS - 1, steady(0)) == 8
    assert world.after(1, steady(0)) == 4


def test_it_sleeps_once_it_has_been_idle_for_long_enough_and_stays_asleep() -> None:
    world = World(SLEEPY, wanted=3)
    assert world.after(10, steady(1)) == 3
    assert world.after(29, steady(0)) == 3
    assert world.after(1, steady(0)) == 0
    assert world.after(100, steady(0)) == 0
    assert world.after(1, steady(5)) == 0  # a prediction that waits wakes it, and no leftover of an average


def test_one_that_was_woken_stays_awake_until_it_is_known_why() -> None:
    world = World(replace(SLEEPY, idle_seconds=1))
    assert world.after(2, steady(0)) == 0
    world.wanted, world.ready = 1, 0
    assert world.after(WAKING_SECONDS, steady(0)) == 1
    world.ready = 1
    assert world.after(1, steady(0)) == 1  # it has just become ready for somebody
    assert world.after(1, steady(0)) == 0
    world.wanted, world.ready = 1, 0
    assert world.after(WAKING_SECONDS + 1, steady(0)) == 0


def test_one_that_never_was_ready_or_is_being_rolled_out_does_not_fall_asleep() -> None:
    assert World(SLEEPY, settled=False).after(100, steady(0)) == 1


def test_with_a_least_number_it_never_sleeps() -> None:
    assert World(BOUNDS).after(1000, steady(0)) == 1


def test_while_none_is_ready_those_that_wait_start_no_more() -> None:
    world = World(SLEEPY, ready=0)
    assert world.after(20, steady(1000)) == 1
    world.ready = 1
    assert world.after(1, steady(1000)) == 10


def test_where_there_is_no_place_one_replica_waits_for_it_and_what_runs_stays() -> None:
    world = World(BOUNDS, wanted=5, starved=3)
    assert world.after(1, steady(80)) == 3
    world.starved = 1
    assert world.after(30, steady(80)) == 3
    world.starved = 0
    assert world.after(1, steady(80)) == 8


@dataclass
class Clock:
    """Readings of a load that is set by hand."""

    windows: Windows = field(default_factory=Windows)
    at: float = 0.0
    request_seconds: float = 0.0
    arrivals: int = 0

    def passes(self, seconds: float, in_flight: float, held: int = 0) -> Demand:
        self.at += seconds
        self.request_seconds += seconds * (in_flight + held)
        self.arrivals += bool(in_flight or held)
        load = Load(self.at, math.ceil(in_flight), held, self.arrivals, 0, self.request_seconds)
        self.windows.read(load)
        return self.windows.demand


def test_averages_are_those_of_the_windows_however_readings_fall() -> None:
    clock = Clock()
    clock.passes(0, 0)
    for step in (1, 7, 0.5, 51.5):
        even = clock.passes(step, 4)
    assert even == Demand(4, 4, True)
    assert clock.passes(3, 20) == Demand(4.8, 12, True)  # 3 s of 20 in 60, and in 6
    assert clock.passes(6, 0).panic == 0
    assert clock.passes(51, 0).stable == 1.0
    assert clock.passes(60, 0) == Demand(0, 0, False)


def test_short_bursts_between_two_readings_count_whole() -> None:
    clock = Clock()
    clock.passes(0, 0)
    clock.request_seconds += 6.0  # sixty requests of 0.1 s, all gone again
    clock.arrivals += 60
    assert clock.passes(1, 0) == Demand(6, 6, True)
    assert not clock.passes(1, 0).busy


def test_what_waited_for_a_first_replica_is_no_load_of_those_that_follow() -> None:
    clock = Clock()
    clock.passes(0, 0)
    assert clock.passes(10, 0, held=1000) == Demand(0, 0, True)
    clock.passes(1, 2)
    assert clock.passes(1, 2) == Demand(2, 2, True)


def test_counts_that_begin_anew_begin_anew() -> None:
    clock = Clock()
    clock.passes(0, 0)
    clock.passes(10, 5)
    clock.request_seconds = 0.0
    assert clock.passes(1, 5).stable == 0
    assert clock.passes(1, 5).stable == 5
