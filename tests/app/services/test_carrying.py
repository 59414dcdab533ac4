"""Carrying a prediction to its answer while the store, the model, or our own code fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import orjson

from app.core.errors import StoreUnavailable
from app.core.predictions import Claim, Outcome, Question
from app.services.carrying import Carrier
from app.store.predictions import Errand

QUESTION = Question((), b"what?", "request-1")
ANSWER = Outcome(200, (), b"that")


class Store:
    """Keeps outcomes in memory; is away for the next `outages` calls, and knows nothing of the claims in `void`."""

    def __init__(self) -> None:
        self.outages = 0
        self.void: set[Claim] = set()
        self.outcomes: list[Outcome] = []
        self.let_gone: list[str] = []

    async def errand(self, claim: Claim) -> Errand | None:
        self._fail()
        return None if claim in self.void else Errand(QUESTION, True)

    async def record(self, claim: Claim, outcome: Outcome, now: datetime) -> bool:
        self._fail()
        if claim in self.void:
            return False
        self.outcomes.append(outcome)
        return True

    async def let_go(self, holder: str) -> None:
        self._fail()
        self.let_gone.append(holder)

    def _fail(self) -> None:
        if self.outages:
            self.outages -= 1
            raise StoreUnavailable("it is away")


class Model:
    """Answers, after what a test has it do first."""

    def __init__(self) -> None:
        self.asked = 0
        self.store: Store | None = None
        self.breaks = False
        self.hangs = False

    async def __call__(self, task_id: str, question: Question) -> Outcome:
        self.asked += 1
        if self.store:
            self.store.outages = 2
        if self.breaks:
            raise KeyError("a mistake of ours")
        if self.hangs:
            await asyncio.Event().wait()
        return ANSWER


@asynccontextmanager
async def carrying() -> AsyncIterator[tuple[Carrier, Store, Model, list[int | None]]]:
    store, model, ends = Store(), Model(), list[int | None]()
    carrier = Carrier(store, model, "me", lambda _: 4)
    carrier.on_end = ends.append
    yield carrier, store, model, ends
    await carrier.close()


def claim(seconds: float = 3600) -> Claim:
    return Claim("id", "iris", "uid", "request-1", 1, datetime.now(UTC) + timedelta(seconds=seconds))


async def test_a_store_that_is_away_is_asked_again() -> None:
    async with carrying() as (carrier, store, model, ends):
        store.outages = 2
        carrier.carry(one := claim())
        assert await carrier.wait(one, 10) == ANSWER
        assert (store.outcomes, model.asked, ends) == ([ANSWER], 1, [200])


async def test_an_answer_is_not_lost_while_the_store_is_away() -> None:
    async with carrying() as (carrier, store, model, ends):
        model.store = store
        carrier.carry(one := claim())
        assert await carrier.wait(one, 10) == ANSWER
        assert (store.outcomes, model.asked, ends) == ([ANSWER], 1, [200])


async def test_a_claim_that_is_void_comes_to_nothing() -> None:
    async with carrying() as (carrier, store, model, ends):
        store.void.add(one := claim())
        carrier.carry(one)
        assert await carrier.wait(one, 10) is None
        assert (store.outcomes, model.asked, ends, len(carrier)) == ([], 0, [], 0)


async def test_a_mistake_of_ours_is_a_result_too() -> None:
    async with carrying() as (carrier, _, model, ends):
        model.breaks = True
        carrier.carry(one := claim())
        found = await carrier.wait(one, 10)
        assert found is not None
        problem = orjson.loads(found.body)
        assert (found.status, problem["code"], problem["requestId"]) == (500, "internal-error", "request-1")
        assert "KeyError" not in found.body.decode()
        assert ends == [500]


async def test_one_whose_time_is_over_when_it_is_taken_over_fails_at_once() -> None:
    async with carrying() as (carrier, _, model, _):
        carrier.carry(one := claim(seconds=-5))
        found = await carrier.wait(one, 10)
        assert found is not None
        assert "Its turn had not come" in orjson.loads(found.body)["detail"]
        assert model.asked == 0


async def test_a_claim_is_carried_once_however_often_it_is_brought() -> None:
    async with carrying() as (carrier, store, model, _):
        one = claim()
        for _ in range(3):
            carrier.carry(one)
        await carrier.wait(one, 10)
        assert (model.asked, len(store.outcomes)) == (1, 1)


async def test_who_closes_leaves_what_is_unfinished_to_others() -> None:
    async with carrying() as (carrier, store, model, ends):
        model.hangs = True
        carrier.carry(one := claim())
        assert await carrier.wait(one, 0.05) is None
        assert carrier.pending() == {"iris": 1}
        await carrier.close()
        assert (store.let_gone, store.outcomes, ends, len(carrier)) == (["me"], [], [], 0)
