"""Predictions in the database: one holder, one outcome, and bounds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core.prediction_errors import IdempotencyKeyReused, PlatformFull, PredictionNotFound, TooManyPending
from app.core.predictions import Claim, Idempotency, Outcome, Question
from app.core.settings import DeferredSettings
from app.store.database import Database
from app.store.leases import Lease
from app.store.predictions import HOLDER_PREFIX, Kept, NewPrediction, PredictionStore
from tests.support.deployed import deployed

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
A, B = f"{HOLDER_PREFIX}a", f"{HOLDER_PREFIX}b"
DONE = Outcome(200, ((b"content-type", b"text/x"), (b"x-word", b"\xe9")), b"\x00answer\xff")


def new(number: int = 0, **changes: Any) -> NewPrediction:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "task_id": "iris",
        "holder": A,
        "question": Question(((b"content-type", b"application/json"),), b"x" * 10, "request-1"),
        "created_at": NOW,
        "deadline_at": NOW + timedelta(hours=1),
    }
    return NewPrediction(**values | changes)


async def store_of(database: Database, **bounds: Any) -> PredictionStore:
    """A store with two deployments, `iris` (uid-1) and `rose` (uid-2)."""
    for task_id, uid in (("iris", "uid-1"), ("rose", "uid-2")):
        await deployed(database, task_id, uid)
    return PredictionStore(database, DeferredSettings(**bounds))


async def kept(store: PredictionStore, number: int = 0, **changes: Any) -> Claim:
    added = await store.add(new(number, **changes))
    assert isinstance(added, Kept)
    return added.claim


async def test_an_outcome_is_kept_byte_for_byte_and_the_question_goes(database: Database) -> None:
    store = await store_of(database)
    claim = await kept(store)
    errand = await store.errand(claim)
    assert errand is not None
    assert errand.question == new().question
    assert errand.is_deployed
    assert await store.record(claim, DONE, NOW)
    found = await store.get(claim.id)
    assert (found.outcome, found.answered_at, found.expires_at) == (DONE, NOW, NOW + timedelta(days=1))
    assert await store.errand(claim) is None


async def test_only_the_first_outcome_counts(database: Database) -> None:
    store = await store_of(database)
    claim = await kept(store)
    others = [Outcome(200, (), b"%d" % number) for number in range(10)]
    recorded = await asyncio.gather(*(store.record(claim, other, NOW) for other in others))
    assert sorted(recorded) == [False] * 9 + [True]
    assert (await store.get(claim.id)).outcome == others[recorded.index(True)]


async def test_who_was_given_up_for_dead_and_thaws_finds_its_answer_refused(database: Database) -> None:
    store = await store_of(database)
    frozen = await kept(store)
    [successor] = await store.take(A, B, 10)
    assert (successor.id, successor.attempt) == (frozen.id, 2)
    assert await store.errand(frozen) is None
    assert not await store.record(frozen, Outcome(200, (), b"late"), NOW)
    assert await store.record(successor, DONE, NOW)
    assert not await store.record(frozen, Outcome(200, (), b"later"), NOW)
    assert (await store.get(frozen.id)).outcome == DONE


async def test_of_two_who_take_over_at_once_each_gets_its_own(url: str, database: Database) -> None:
    other = Database(url)
    stores = [await store_of(database), PredictionStore(other, DeferredSettings())]
    for number in range(60):
        await kept(stores[0], number)
    takers = [store.take(A, taker, 10) for store, taker in zip(stores * 6, (B, f"{HOLDER_PREFIX}c") * 6, strict=True)]
    taken = [claim.id for claims in await asyncio.gather(*takers) for claim in claims]
    while claims := await stores[1].take(A, B, 10):
        taken += [claim.id for claim in claims]
    assert sorted(taken) == [f"{number:032x}" for number in range(60)]
    await other.close()


async def test_what_was_answered_is_not_taken_over(database: Database) -> None:
    store = await store_of(database)
    claims = [await kept(store, number) for number in range(3)]
    await store.record(claims[1], DONE, NOW)
    assert [claim.id for claim in await store.take(A, B, 10)] == [claims[0].id, claims[2].id]
    assert await store.take(A, B, 10) == []


async def test_who_holds_what_is_told_with_the_beats_of_those_who_live(database: Database) -> None:
    store = await store_of(database)
    assert await store.holders() == {}
    await kept(store, 1)
    await kept(store, 2)
    await kept(store, 3, holder=B)
    await Lease(database, B, B, 5).hold()
    await Lease(database, f"{HOLDER_PREFIX}idle", f"{HOLDER_PREFIX}idle", 5).hold()
    await Lease(database, "controllers", "somebody", 5).hold()
    assert await store.holders() == {A: (2, None), B: (1, 0), f"{HOLDER_PREFIX}idle": (0, 0)}
    await store.let_go(A)
    assert (await store.holders())[None] == (2, None)
    assert len(await store.take(None, B, 10)) == 2
    await store.bury(B)
    assert (await store.holders())[B] == (3, None)
    assert len(await store.held(B)) == 3


@pytest.mark.parametrize(
    ("bounds", "refusal"),
    [
        ({"pending_per_deployment": 2}, TooManyPending),
        ({"pending_bytes_per_deployment": 100}, TooManyPending),
        ({"pending": 2}, PlatformFull),
        ({"pending_bytes": 100}, PlatformFull),
    ],
)
async def test_what_may_wait_is_bounded_also_within_one_group(
    database: Database, bounds: dict[str, int], refusal: type[Exception]
) -> None:
    store = await store_of(database, **bounds)
    outcomes = await asyncio.gather(*(store.add(new(number)) for number in range(5)), return_exceptions=True)
    assert [type(one) for one in outcomes] == [Kept, Kept, refusal, refusal, refusal]
    elsewhere = await asyncio.gather(store.add(new(9, task_id="rose")), return_exceptions=True)
    assert [type(one) for one in elsewhere] == [PlatformFull if refusal is PlatformFull else Kept]
    assert isinstance(outcomes[0], Kept)
    await store.record(outcomes[0].claim, DONE, NOW)
    assert isinstance(await store.add(new(7)), Kept)


async def test_one_key_is_one_prediction_for_two_gateways_too(url: str, database: Database) -> None:
    other = Database(url)
    stores = [await store_of(database), PredictionStore(other, DeferredSettings())] * 5
    key = Idempotency("key", "content")
    added = await asyncio.gather(*(s.add(new(number, idempotency=key)) for number, s in enumerate(stores)))
    claims = [one.claim for one in added if isinstance(one, Kept)]
    assert len(claims) == 1
    assert {one for one in added if isinstance(one, str)} == {claims[0].id}
    with pytest.raises(IdempotencyKeyReused):
        await stores[0].add(new(77, idempotency=Idempotency("key", "another")))
    assert isinstance(await stores[0].add(new(78, idempotency=key, task_id="rose")), Kept)
    assert await stores[0].add(new(79, task_id="nobody")) is None
    await other.close()


async def test_what_has_expired_goes_in_two_steps_and_small_batches(database: Database) -> None:
    store = await store_of(database, result_seconds=60)
    for number in range(5):
        await store.record(await kept(store, number), DONE, NOW)
    waiting = await kept(store, 9)
    assert await store.clean(NOW + timedelta(seconds=59), 100) == 0
    expired = NOW + timedelta(seconds=60)
    assert [await store.clean(expired, 3) for _ in range(3)] == [3, 2, 0]
    emptied = await store.get(f"{0:032x}")
    assert (emptied.outcome, emptied.expires_at) == (None, expired)
    assert await store.clean(expired + timedelta(seconds=60), 100) == 5
    with pytest.raises(PredictionNotFound):
        await store.get(f"{0:032x}")
    assert await store.clean(expired + timedelta(days=99), 100) == 0
    assert (await store.get(waiting.id)).answered_at is None


async def test_how_many_are_ahead_is_counted_for_each_deployment(database: Database) -> None:
    store = await store_of(database)
    first, _, third = [await kept(store, number) for number in range(3)]
    other = await kept(store, 4, task_id="rose")
    assert [(await store.get(one.id)).ahead for one in (first, third, other)] == [0, 2, 0]
    await store.record(first, DONE, NOW)
    assert (await store.get(third.id)).ahead == 1
