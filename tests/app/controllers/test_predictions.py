"""The controller of predictions: who died, and who goes on with what it held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.controllers.predictions import BATCH, PredictionController
from app.core.predictions import Claim, Question
from app.core.settings import DeferredSettings
from app.store.database import Database
from app.store.leases import Lease
from app.store.predictions import HOLDER_PREFIX, Kept, NewPrediction, PredictionStore
from tests.support.deployed import deployed

PATIENCE = 6.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """Carries what it is given, and comes to no end with it."""

    def __init__(self, database: Database, name: str, clock: Clock) -> None:
        self.holder = f"{HOLDER_PREFIX}{name}"
        self.carried: set[Claim] = set()
        self.taken = 0
        self.store = PredictionStore(database, DeferredSettings())
        lease = Lease(database, self.holder, self.holder, PATIENCE, clock)
        self.controller = PredictionController(self.store, lease, self, PATIENCE, self._count, clock)

    def __len__(self) -> int:
        return len(self.carried)

    def carry(self, claim: Claim) -> None:
        self.carried.add(claim)

    async def close(self) -> None:
        self.carried.clear()

    async def submit(self, number: int) -> Claim:
        question, now = Question((), b"", "r"), datetime.now(UTC)
        later = now + timedelta(hours=1)
        added = await self.store.add(NewPrediction(f"{number:032x}", "iris", self.holder, question, now, later))
        assert isinstance(added, Kept)
        return added.claim

    async def accept(self, number: int) -> Claim:
        claim = await self.submit(number)
        self.carry(claim)
        return claim

    def _count(self, count: int) -> None:
        self.taken += count


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/test.db")
    await database.migrate()
    await deployed(database, "iris", "uid-1")
    yield database
    await database.close()


async def test_what_a_silent_gateway_held_is_taken_over_after_its_time_and_not_before(
    database: Database, clock: Clock
) -> None:
    dead, living = Gateway(database, "dead", clock), Gateway(database, "living", clock)
    for number in range(BATCH + 1):
        await dead.accept(number)
    await dead.controller.round()
    await living.controller.round()
    clock.now += PATIENCE - 0.1
    await living.controller.round()
    assert not living.carried
    clock.now += 0.2
    await living.controller.round()
    assert living.taken == len(living.carried) == BATCH + 1
    assert {claim.attempt for claim in living.carried} == {2}
    assert await living.store.holders() == {living.holder: (BATCH + 1, None)}


async def test_one_that_died_before_its_first_beat_is_noticed_too(database: Database, clock: Clock) -> None:
    dead, living = Gateway(database, "dead", clock), Gateway(database, "living", clock)
    await dead.submit(1)
    await living.controller.round()
    clock.now += PATIENCE
    await living.controller.round()
    assert living.taken == 1


async def test_a_gateway_that_beats_keeps_what_it_has(database: Database, clock: Clock) -> None:
    one, other = Gateway(database, "one", clock), Gateway(database, "other", clock)
    await one.accept(1)
    for _ in range(10):
        clock.now += PATIENCE / 2
        await one.controller.round()
        await other.controller.round()
    assert not other.carried


async def test_one_that_thaws_beats_again_and_keeps_what_is_new(database: Database, clock: Clock) -> None:
    frozen, living = Gateway(database, "frozen", clock), Gateway(database, "living", clock)
    await frozen.accept(1)
    await frozen.controller.round()
    await living.controller.round()
    clock.now += PATIENCE
    await living.controller.round()
    assert living.taken == 1
    fresh = await frozen.accept(2)
    for _ in range(4):
        await frozen.controller.round()
        await living.controller.round()
        clock.now += PATIENCE / 2
    assert await frozen.store.held(frozen.holder) == [fresh]


async def test_a_submit_that_broke_off_after_it_was_kept_is_carried_all_the_same(
    database: Database, clock: Clock
) -> None:
    gateway = Gateway(database, "one", clock)
    claim = await gateway.submit(1)
    await gateway.controller.round()
    assert gateway.carried == {claim}


async def test_what_is_left_in_order_is_taken_at_once(database: Database, clock: Clock) -> None:
    going, staying = Gateway(database, "going", clock), Gateway(database, "staying", clock)
    await going.submit(1)
    await going.store.let_go(going.holder)
    await staying.controller.round()
    assert staying.taken == 1


async def test_who_holds_nothing_does_not_beat_and_leaves_no_trace(database: Database, clock: Clock) -> None:
    gateway = Gateway(database, "one", clock)
    await gateway.controller.round()
    assert await gateway.store.holders() == {}
    claim = await gateway.accept(1)
    await gateway.controller.round()
    assert await gateway.store.holders() == {gateway.holder: (1, 0)}
    await gateway.store.take(gateway.holder, "another", 1)
    gateway.carried.remove(claim)
    await gateway.controller.round()
    assert gateway.holder not in await gateway.store.holders()


async def test_the_beat_of_a_dead_gateway_that_held_nothing_is_forgotten(database: Database, clock: Clock) -> None:
    dead, living = Gateway(database, "dead", clock), Gateway(database, "living", clock)
    claim = await dead.accept(1)
    await dead.controller.round()
    await dead.store.take(dead.holder, "another", 1)
    assert dead.carried == {claim}
    await living.controller.round()
    clock.now += PATIENCE
    await living.controller.round()
    assert dead.holder not in await living.store.holders()
