"""Leases: one holder at a time, taken over only after a silence, whatever wall clocks say."""

from app.store.database import Database
from app.store.leases import Lease


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_the_first_gets_it_and_the_second_waits(database: Database) -> None:
    first, second = (Lease(database, "controllers", name, 6, Clock()) for name in "ab")
    assert await first.hold()
    assert not await second.hold()


async def test_a_silent_holder_loses_it_after_its_time(database: Database) -> None:
    clock = Clock()
    first, second = (Lease(database, "controllers", name, 6, clock) for name in "ab")
    assert await first.hold()
    assert not await second.hold()
    clock.now += 5.9
    assert not await second.hold()
    clock.now += 0.2
    assert await second.hold()
    assert not await first.hold()


async def test_a_beating_holder_keeps_it(database: Database) -> None:
    clock = Clock()
    first, second = (Lease(database, "controllers", name, 6, clock) for name in "ab")
    for _ in range(10):
        assert await first.hold()
        clock.now += 2
        assert not await second.hold()


async def test_a_holder_that_cannot_renew_stops_before_others_may_act(database: Database) -> None:
    clock = Clock()
    lease = Lease(database, "controllers", "a", 6, clock)
    assert await lease.hold()
    clock.now += 3.9
    assert lease.is_held()
    clock.now += 0.2
    assert not lease.is_held()


async def test_a_released_lease_is_free_at_once(database: Database) -> None:
    first, second = (Lease(database, "controllers", name, 6, Clock()) for name in "ab")
    assert await first.hold()
    await first.release()
    assert not first.is_held()
    assert await second.hold()


async def test_releasing_what_others_hold_changes_nothing(database: Database) -> None:
    first, second = (Lease(database, "controllers", name, 6, Clock()) for name in "ab")
    assert await first.hold()
    await second.release()
    assert await first.hold()
