"""Carrying: brings each prediction that this gateway holds to its answer, and records it once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

import orjson
import structlog

from app.core.errors import Outage
from app.core.predictions import Claim, Outcome, Question
from app.proxy.inside import refusal
from app.proxy.problem import DEADLINE_EXCEEDED, Failure
from app.services.lanes import Lane, pause
from app.store.predictions import PredictionStore

log = structlog.get_logger(__name__)

PASSING = (429, 502, 503)  # of these another try may make something better
LANES = 1000  # that are kept
LONGEST_RETRY_AFTER = 3600  # seconds
LOSSES = 5  # 502s in a row after which the request itself is what its servers die of
Ask = Callable[[str, Question], Awaitable[Outcome]]

DELETED = Failure(
    404,
    "deployment-not-found",
    "The deployment was deleted",
    "The deployment was deleted before it had answered.",
    retryable=False,
)
SURPRISE = Failure(
    500,
    "internal-error",
    "Internal Server Error",
    "Something went wrong on our side. The log has it under this request id.",
    retryable=True,
)


class Carrier:
    """Holds claims as `holder`, and tries each until it has an answer, or its deadline has passed.

    `width` says how many may go to a task's deployment at once.

    Predictions of one deployment wait for each other in its lane. An id is the right to read a result, so no log has
    it. Nothing is lost with this object: who finds its claims in the store goes on with them. `on_end` is told the
    status of each outcome; None: others had it already.
    """

    def __init__(self, store: PredictionStore, ask: Ask, holder: str, width: Callable[[str], int]) -> None:
        self._store = store
        self._ask = ask
        self.holder = holder
        self._width = width
        self.on_end: Callable[[int | None], None] = lambda _: None
        self._tasks: dict[Claim, asyncio.Task[Outcome | None]] = {}
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        """How many it carries."""
        return len(self._tasks)

    def pending(self) -> Mapping[str, int]:
        """How many it carries of each task."""
        counts: dict[str, int] = {}
        for claim in self._tasks:
            counts[claim.task_id] = counts.get(claim.task_id, 0) + 1
        return counts

    def carry(self, claim: Claim) -> None:
        """Begin with it, unless that was done."""
        if claim not in self._tasks:
            lane = self._lane(claim)
            lane.members += 1
            self._tasks[claim] = asyncio.create_task(self._carry(claim, lane))

    async def wait(self, claim: Claim, seconds: float) -> Outcome | None:
        """The outcome, once it is recorded; None if it is not within so many seconds, or others have it."""
        if task := self._tasks.get(claim):
            await asyncio.wait([task], timeout=seconds)
        return task.result() if task and task.done() and not task.cancelled() else None

    def expected(self, deployment_uid: str, ahead: int) -> float | None:
        """In how many seconds the one behind `ahead` others has its answer; None if nothing here tells.

        That a replica must start first is not counted.
        """
        lane = self._lanes.get(deployment_uid)
        return lane.expected(ahead) if lane else None

    async def close(self) -> None:
        """Leave what is unfinished to others, at once."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if tasks:
            with suppress(Outage):  # then they take it when they think us dead
                await self._store.let_go(self.holder)

    def _lane(self, claim: Claim) -> Lane:
        """Empty lanes are kept for what they know, but not without end."""
        if len(self._lanes) >= LANES:
            self._lanes = {uid: lane for uid, lane in self._lanes.items() if lane.members}
        return self._lanes.setdefault(claim.deployment_uid, Lane(partial(self._width, claim.task_id)))

    async def _carry(self, claim: Claim, lane: Lane) -> Outcome | None:
        """The outcome, once it is recorded."""
        try:
            [found] = await asyncio.gather(self._outcome(claim, lane), return_exceptions=True)
            if isinstance(found, BaseException):
                log.error("surprise", request_id=claim.request_id, exc_info=found)
                found = _refusal(SURPRISE, claim)
            return found if found and await self._record(claim, found) else None
        finally:
            del self._tasks[claim]
            lane.members -= 1

    async def _outcome(self, claim: Claim, lane: Lane) -> Outcome | None:
        """What is to be recorded; None if others have it now."""
        tries = Tries()
        left = (claim.deadline_at - datetime.now(UTC)).total_seconds()
        if left <= 0:
            return _refusal(tries.too_late(), claim)
        try:
            async with asyncio.timeout(left):
                return await self._answer(claim, lane, tries)
        except TimeoutError:
            return _refusal(tries.too_late(), claim)

    async def _answer(self, claim: Claim, lane: Lane, tries: Tries) -> Outcome | None:
        while True:
            async with lane.turn() as turn:
                answer = await self._try(claim, tries)
                turn.went_well = answer is None or answer.status not in PASSING
                turn.retry_after = _retry_after(answer) if answer else 0
            if answer is None or turn.went_well or tries.losses >= LOSSES:
                return answer
            log.info("prediction_tried", request_id=claim.request_id, task_id=claim.task_id, status=answer.status)

    async def _try(self, claim: Claim, tries: Tries) -> Outcome | None:
        try:
            errand = await self._store.errand(claim)
        except Outage as outage:
            return _refusal(Failure(503, outage.code, "", outage.public, retryable=True), claim)
        if errand is None:
            return None
        if not errand.is_deployed:
            return _refusal(DELETED, claim)
        return tries.add(await self._ask(claim.task_id, errand.question))

    async def _record(self, claim: Claim, outcome: Outcome) -> bool:
        """Whether it is ours that is kept."""
        for failures in count(1):
            try:
                is_ours = await self._store.record(claim, outcome, datetime.now(UTC))
            except Outage as outage:
                log.warning("outcome_not_kept_yet", request_id=claim.request_id, code=outage.code, cause=str(outage))
                await asyncio.sleep(pause(failures))
            else:
                self.on_end(outcome.status if is_ours else None)
                return is_ours
        raise AssertionError("unreachable: it goes on until it is known")


class Tries:
    """How the tries of one prediction went."""

    last: Outcome | None = None
    losses = 0  # in a row

    def add(self, answer: Outcome) -> Outcome:
        self.last = answer
        self.losses = self.losses + 1 if answer.status == 502 else 0
        return answer

    def too_late(self) -> Failure:
        """The failure of one whose time is over, with what was in its way."""
        why = "Its turn had not come."
        if self.last is not None:
            why = f"The last try was answered with {self.last.status}{_detail(self.last)}"
        return DEADLINE_EXCEEDED._replace(detail=f"It had no answer when its time was over. {why}")


def _refusal(failure: Failure, claim: Claim) -> Outcome:
    return refusal(failure, f"/api/v1/inference/{claim.task_id}/predict", claim.request_id)


def _retry_after(answer: Outcome) -> int:
    stated = dict(answer.headers).get(b"retry-after", b"")
    return min(int(stated), LONGEST_RETRY_AFTER) if stated.isdigit() and len(stated) < 10 else 0


def _detail(answer: Outcome) -> str:
    """The sentence of a problem document."""
    try:
        content: Any = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return "."
    detail = content.get("detail") if isinstance(content, dict) else None
    return f": {detail}" if isinstance(detail, str) else "."
