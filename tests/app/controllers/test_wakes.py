"""What a wake took, phase by phase, on a clock that the test turns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from app.controllers.deployment_status import status_of
from app.controllers.routes import route_of
from app.controllers.wakes import KEPT, WakeWatch, with_told
from app.core.conditions import DeploymentPhase
from app.core.scaling import Elastic, StartPhase, Wake, told_seconds, usual_seconds
from app.core.specs import Program, Resources, ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SPEC = ServerSpec("serve-a", "a", "u", Program("m", {}, "i"), Resources(1, 1), timedelta(minutes=10))
ELASTIC = Elastic(0, 4, 10, 60)
SCHEDULE, PULL, START, FETCH, LOAD, WARM_UP = StartPhase


@dataclass
class Watched:
    """A deployment seen by one controller; each look records its status, as the controller does."""

    clock: float = 50.0
    recorded: list[Wake] = field(default_factory=list)
    status: DeploymentStatus = field(default_factory=DeploymentStatus)

    def __post_init__(self) -> None:
        self.watch = WakeWatch(lambda _, wake: self.recorded.append(wake), lambda: self.clock)

    def look(self, seconds: float, *seen: StartPhase | None, told: dict[StartPhase, float] | None = None) -> None:
        """After so many seconds there are replicas in these phases; None is one that is ready."""
        self.clock += seconds
        found = tuple(
            ReplicaObservation("serve-a-0", ProcessState.STARTING, phase=phase)
            if phase
            else ReplicaObservation("serve-a-0", ProcessState.RUNNING, seconds=told or {})
            for phase in seen
        )
        self._record(ServerObservation("serve-a", "u", 1, found), 1)

    def sleep(self) -> None:
        self._record(ServerObservation("serve-a", "u", 0), 0)

    def _record(self, found: ServerObservation, replicas: int) -> None:
        spec = replace(SPEC, replicas=replicas)
        one = Deployment(1, "a", "u", "m", {}, spec, Desired.RUN, "r", None, self.status, NOW, elastic=ELASTIC)
        self.status = self.watch.see(one, found, status_of(one, found, NOW), NOW)


def test_the_phases_of_a_wake_add_up_to_the_whole_of_it() -> None:
    watched = Watched()
    watched.look(0)
    watched.look(0.5, SCHEDULE)
    watched.look(1, PULL)
    watched.look(3, START)
    watched.look(1, FETCH)
    watched.look(0.25, WARM_UP)
    watched.look(0.25, None)
    [wake] = watched.recorded
    assert wake.seconds == {SCHEDULE: 1.5, PULL: 3, START: 1, FETCH: 0.25, LOAD: 0, WARM_UP: 0.25}
    assert wake.total == pytest.approx(6.0)
    assert watched.status.wakes == (wake,)


def test_what_the_server_measured_itself_stands_in_the_place_of_what_was_seen() -> None:
    watched = Watched()
    watched.look(0)
    watched.look(2, PULL)
    watched.look(2, START)
    watched.look(4, None, told={PULL: 0.5, FETCH: 0.5, LOAD: 2, WARM_UP: 0.125})
    [wake] = watched.recorded
    assert wake.seconds == {SCHEDULE: 2, PULL: 0.5, START: 2.875, FETCH: 0.5, LOAD: 2, WARM_UP: 0.125}
    assert wake.total == pytest.approx(8.0)


def test_what_a_server_says_that_cannot_be_so_is_left_aside() -> None:
    seen = dict.fromkeys(StartPhase, 1.0)
    assert with_told(seen, {LOAD: 100.0}) == seen
    assert told_seconds({"load": "x", "fetch": -1, "warmUp": 2, "more": 3}) == {WARM_UP: 2.0}
    assert told_seconds(None) == {} == told_seconds([1])


def test_only_starts_from_nothing_are_measured_each_once() -> None:
    watched = Watched()
    watched.look(0, START)
    watched.look(1, None)
    watched.look(5, None)
    watched.look(5, START)  # it crashed, and starts again
    watched.look(5, None)
    assert [wake.total for wake in watched.recorded] == [1]
    watched.sleep()
    watched.look(0, None)  # what is still there of before is no start
    watched.look(1, None)
    assert len(watched.recorded) == 1


def test_a_start_that_another_gateway_saw_begin_is_not_measured() -> None:
    watched = Watched()
    watched.look(0, START)
    heir = Watched(status=watched.status)
    heir.look(1, None)
    assert heir.recorded == []


def test_estimates_are_made_of_the_last_wakes() -> None:
    watched = Watched()
    for seconds in (100, 1, 2, 3, 4, 5):
        watched.look(0)
        watched.look(seconds, None)
        watched.sleep()
    assert len(watched.status.wakes) == KEPT
    assert usual_seconds(watched.status.wakes) == 3
    assert usual_seconds(()) is None


def with_wakes(replicas: int, *totals: float, status: DeploymentStatus | None = None) -> Deployment:
    wakes = tuple(Wake({START: total}, NOW) for total in totals)
    found = ServerObservation("serve-a", "u", replicas)
    one = Deployment(
        1, "a", "u", "m", {}, replace(SPEC, replicas=replicas), Desired.RUN, "r", None, DeploymentStatus(), NOW,
        elastic=ELASTIC,
    )  # fmt: skip
    ready = replace(found, replicas=(ReplicaObservation("serve-a-0", ProcessState.RUNNING),))
    was_ready = status_of(replace(one, spec=SPEC), ready, NOW) if status is None else status
    one = replace(one, status=replace(was_ready, wakes=wakes))
    return replace(one, status=status_of(one, found, NOW))


def test_predictions_are_held_for_as_long_as_wakes_are_known_to_take() -> None:
    asleep = with_wakes(0, 90, 100, 110)
    assert asleep.status.phase is DeploymentPhase.ASLEEP
    route = route_of(asleep, None, NOW)
    assert (route.expected, route.expected_in, route.hold_seconds) == (True, 100, 150)
    waking = with_wakes(1, 90, 100, 110, status=asleep.status)
    assert waking.status.phase is DeploymentPhase.DEPLOYING
    later = route_of(waking, None, NOW + timedelta(seconds=60))
    assert (later.expected, later.expected_in, later.hold_seconds) == (True, 40, 150)


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=1)])
def test_a_wall_clock_that_jumps_makes_no_estimate_absurd(jump: timedelta) -> None:
    waking = with_wakes(1, 100, status=with_wakes(0, 100).status)
    left = waking.wake_left(NOW + jump)
    assert left is not None and 0 <= left <= 100


def test_of_one_that_never_woke_nothing_is_known() -> None:
    assert with_wakes(0).wake_left(NOW) is None
    assert route_of(with_wakes(0), None, NOW).hold_seconds == 0
