"""Predictions that are answered later, in the database.

A prediction has one holder, the gateway that carries it out, and an attempt number that each change of holder raises.
An answer is kept only if it is of the newest attempt and there is none yet: so one that was given up for dead, and was
only slow, finds its answer refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.errors import Refusal
from app.core.prediction_errors import IdempotencyKeyReused, PredictionNotFound
from app.core.predictions import Claim, Headers, Idempotency, Outcome, Prediction, Question
from app.core.settings import DeferredSettings
from app.core.tasks import Desired
from app.store.database import Database, whole
from app.store.groups import Group
from app.store.room import Room
from app.store.tables import deployments, leases, predictions

HOLDER_PREFIX = "gateway-"  # of the leases by which holders say that they live
_LOCK = sa.update(predictions).where(sa.false()).values(attempt=0)  # takes SQLite's write lock before the counting
_c = predictions.c
_pending = _c.answered_at.is_(None)
_claim_columns = (_c.sequence, _c.id, _c.task_id, _c.deployment_uid, _c.request_id, _c.attempt, _c.deadline_at)


@dataclass(frozen=True, slots=True)
class NewPrediction:
    """A prediction to be kept, held by `holder`."""

    id: str
    task_id: str
    holder: str
    question: Question
    created_at: datetime
    deadline_at: datetime
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The claim to answer a new prediction; `ahead` wait for the same deployment already."""

    claim: Claim
    ahead: int


@dataclass(frozen=True, slots=True)
class Errand:
    """What to ask, and whether the deployment that it was meant for is still there to be asked."""

    question: Question
    is_deployed: bool


class PredictionStore:
    """Writes that wait together share one transaction. `settings` bound what may be pending."""

    def __init__(self, database: Database, settings: DeferredSettings) -> None:
        self._database = database
        self._settings = settings
        self._add = Group(self._write)
        self._record = Group(self._write_outcomes)

    @whole
    async def add(self, new: NewPrediction) -> Kept | str | None:
        """Keep it; or the id of the one that was kept before under the same key; None if nothing is deployed there.

        Raises `TooManyPending` where there is no room, `IdempotencyKeyReused`. The bounds hold but for what other
        gateways keep in the same moment.
        """
        added = await self._add(new)
        if isinstance(added, Refusal):
            raise added
        return added

    @whole
    async def record(self, claim: Claim, outcome: Outcome, now: datetime) -> bool:
        """Keep the outcome, if the claim still holds. False: others have it, or there is an outcome already."""
        return await self._record((claim, outcome, now))

    @whole
    async def errand(self, claim: Claim) -> Errand | None:
        """What to ask; None if the claim is void."""
        query = (
            sa.select(_c.headers, _c.body, _c.request_id, _c.deployment_uid, deployments.c.uid, deployments.c.desired)
            .select_from(predictions.outerjoin(deployments, deployments.c.task_id == _c.task_id))
            .where(*_holds(claim))
        )
        async with self._database.begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        stands = row.uid == row.deployment_uid and row.desired == Desired.RUN.value
        return Errand(Question(_headers(row.headers), row.body, row.request_id), stands)

    @whole
    async def get(self, id: str) -> Prediction:
        """Raises `PredictionNotFound`."""
        async with self._database.begin() as connection:
            query = sa.select(*(column for column in _c if column.name not in ("headers", "body"))).where(_c.id == id)
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise PredictionNotFound(id)
            ahead = 0
            if row.answered_at is None:
                before = (_pending, _c.deployment_uid == row.deployment_uid, _c.sequence < row.sequence)
                ahead = (await connection.execute(sa.select(sa.func.count()).where(*before))).scalar_one()
        return _prediction(row, ahead)

    @whole
    async def holders(self) -> Mapping[str | None, tuple[int, int | None]]:
        """Of whoever holds pending predictions or says that it lives: how many it holds, and its last beat."""
        counts = sa.select(_c.holder, sa.func.count().label("held")).where(_pending).group_by(_c.holder)
        beats = sa.select(leases.c.name, leases.c.beat).where(leases.c.name.startswith(HOLDER_PREFIX))
        async with self._database.begin() as connection:
            held = {row.holder: row.held for row in await connection.execute(counts)}
            lives = {row.name: row.beat for row in await connection.execute(beats)}
        return {holder: (held.get(holder, 0), lives.get(holder)) for holder in held.keys() | lives.keys()}

    @whole
    async def held(self, holder: str) -> Sequence[Claim]:
        """The pending predictions of this holder, oldest first."""
        query = sa.select(*_claim_columns).where(_pending, _c.holder == holder).order_by(_c.sequence)
        async with self._database.begin() as connection:
            return [_claim(row) for row in await connection.execute(query)]

    @whole
    async def take(self, holder: str | None, taker: str, limit: int) -> Sequence[Claim]:
        """Make the oldest that `holder` holds, at most `limit`, the taker's, by a new attempt."""
        theirs = (_pending, _c.holder == holder)
        oldest = sa.select(_c.id).where(*theirs).order_by(_c.sequence).limit(limit).with_for_update(skip_locked=True)
        taking = sa.update(predictions).where(*theirs, _c.id.in_(oldest))
        values = {"holder": taker, "attempt": _c.attempt + 1}
        async with self._database.begin() as connection:
            rows = (await connection.execute(taking.values(values).returning(*_claim_columns))).all()
        return [_claim(row) for row in sorted(rows, key=lambda row: int(row.sequence))]

    @whole
    async def let_go(self, holder: str) -> None:
        """Let others take what this holder has at once."""
        async with self._database.begin() as connection:
            await connection.execute(sa.update(predictions).where(_pending, _c.holder == holder).values(holder=None))

    @whole
    async def bury(self, holder: str) -> None:
        """Forget the beat of a holder that is dead."""
        async with self._database.begin() as connection:
            await connection.execute(sa.delete(leases).where(leases.c.name == holder))

    @whole
    async def clean(self, now: datetime, limit: int) -> int:
        """Drop answers that have expired, and later their rows, at most `limit` of each. Returns how many it were."""
        due = sa.select(_c.id).where(_c.clean_at <= now).order_by(_c.clean_at).limit(limit)
        forgotten = sa.delete(predictions).where(_c.id.in_(due.where(_c.clean_at > _c.expires_at)))
        later = now + timedelta(seconds=self._settings.result_seconds)
        emptied = sa.update(predictions).where(_c.id.in_(due.where(_c.clean_at == _c.expires_at)))
        async with self._database.begin() as connection:
            gone = await connection.execute(forgotten)
            empty = await connection.execute(emptied.values(clean_at=later, answer=None, answer_headers=None))
        return gone.rowcount + empty.rowcount

    async def _write(self, group: Sequence[NewPrediction]) -> Sequence[Kept | str | Refusal | None]:
        async with self._database.begin() as connection:
            await connection.execute(_LOCK)
            uids = await _deployed(connection, {new.task_id for new in group})
            counts = sa.select(_c.deployment_uid, sa.func.count(), sa.func.sum(_c.size)).where(_pending)
            found = await connection.execute(counts.group_by(_c.deployment_uid))
            room = Room(self._settings, {uid: (count, int(size)) for uid, count, size in found})
            return [await self._write_one(connection, new, uids.get(new.task_id), room) for new in group]

    async def _write_one(
        self, connection: AsyncConnection, new: NewPrediction, uid: str | None, room: Room
    ) -> Kept | str | Refusal | None:
        if uid is None:
            return None
        if (refusal := room.refusal(new.task_id, uid, new.question.size)) is None:
            insert = self._database.insert(predictions).values(_values(new, uid)).on_conflict_do_nothing()
            if (await connection.execute(insert)).rowcount:
                claim = Claim(new.id, new.task_id, uid, new.question.request_id, 1, new.deadline_at)
                return Kept(claim, room.take(uid, new.question.size))
        known = await _known(connection, uid, new.idempotency) if new.idempotency else None
        return known or refusal

    async def _write_outcomes(self, group: Sequence[tuple[Claim, Outcome, datetime]]) -> Sequence[bool]:
        async with self._database.begin() as connection:
            return [await self._write_outcome(connection, *one) for one in group]

    async def _write_outcome(self, connection: AsyncConnection, claim: Claim, outcome: Outcome, now: datetime) -> bool:
        expires = now + timedelta(seconds=self._settings.result_seconds)
        answer = {"status": outcome.status, "answer_headers": _listed(outcome.headers), "answer": outcome.body}
        times = {"answered_at": now, "expires_at": expires, "clean_at": expires}
        asked = {"body": None, "headers": None}
        change = sa.update(predictions).where(*_holds(claim)).values(**answer, **times, **asked)
        return (await connection.execute(change)).rowcount == 1


async def _deployed(connection: AsyncConnection, task_ids: Collection[str]) -> Mapping[str, str]:
    """The uids of those deployments that shall run."""
    query = sa.select(deployments.c.task_id, deployments.c.uid)
    there = query.where(deployments.c.task_id.in_(task_ids), deployments.c.desired == Desired.RUN.value)
    return {row.task_id: row.uid for row in await connection.execute(there)}


async def _known(connection: AsyncConnection, uid: str, said: Idempotency) -> str | Refusal | None:
    """The prediction that was kept under the same key."""
    same = (_c.deployment_uid == uid, _c.idempotency_key == said.key)
    row = (await connection.execute(sa.select(_c.id, _c.content_digest).where(*same))).one_or_none()
    if row is None:
        return None
    return str(row.id) if row.content_digest == said.content else IdempotencyKeyReused()


def _holds(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return _c.id == claim.id, _c.attempt == claim.attempt, _pending


def _values(new: NewPrediction, deployment_uid: str) -> dict[str, Any]:
    return {
        "id": new.id,
        "task_id": new.task_id,
        "deployment_uid": deployment_uid,
        "request_id": new.question.request_id,
        "idempotency_key": new.idempotency.key if new.idempotency else None,
        "content_digest": new.idempotency.content if new.idempotency else None,
        "holder": new.holder,
        "attempt": 1,
        "size": new.question.size,
        "created_at": new.created_at,
        "deadline_at": new.deadline_at,
        "headers": _listed(new.question.headers),
        "body": new.question.body,
    }


def _listed(headers: Headers) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _headers(listed: Sequence[Sequence[str]]) -> Headers:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in listed)


def _claim(row: Any) -> Claim:
    return Claim(row.id, row.task_id, row.deployment_uid, row.request_id, row.attempt, row.deadline_at)


def _prediction(row: sa.Row[Any], ahead: int) -> Prediction:
    outcome = None if row.answer is None else Outcome(row.status, _headers(row.answer_headers), row.answer)
    return Prediction(
        id=row.id,
        task_id=row.task_id,
        deployment_uid=row.deployment_uid,
        request_id=row.request_id,
        created_at=row.created_at,
        deadline_at=row.deadline_at,
        ahead=ahead,
        outcome=outcome,
        answered_at=row.answered_at,
        expires_at=row.expires_at,
    )
