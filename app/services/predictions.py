"""Predictions that are answered later, and those that the proxy could not carry: why not, in words."""

from __future__ import annotations

import hashlib
import math
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from app.core.conditions import DeploymentPhase, find
from app.core.errors import DeploymentNotReady
from app.core.prediction_errors import IdempotencyKeyInvalid, PredictionExpired, PredictionNotFound, TimeoutInvalid
from app.core.predictions import Headers, Idempotency, Prediction, Question
from app.core.settings import DeferredSettings
from app.core.tasks import Deployment, Desired
from app.proxy.headers import REQUEST_STOPS, HeadRefused, seconds
from app.services.carrying import Carrier
from app.store.deployments import DeploymentStore
from app.store.predictions import NewPrediction, PredictionStore

_RETRY_AFTER = {DeploymentPhase.DEPLOYING: 2, DeploymentPhase.READY: 1, DeploymentPhase.DEGRADED: 2}
_ANSWERING = (DeploymentPhase.READY, DeploymentPhase.DEGRADED)
_BEHIND_SECONDS = 1.0  # that a gateway may be behind what another has written down
LONGEST_KEY = 255  # characters
_ID = re.compile(r"[0-9a-f]{32}")
# What is for this request alone: how and when its caller wants its answer, who the caller is, how it came here.
_STOPS = REQUEST_STOPS | {b"prefer", b"idempotency-key", b"accept-encoding"}


class PredictionService:
    """The hot path is the proxy's; what comes here is to be answered later, or has no ready replica."""

    def __init__(
        self,
        deployments: DeploymentStore,
        predictions: PredictionStore,
        carrier: Carrier,
        away: Callable[[str], float],
        catch_up: Callable[[str, float], Awaitable[bool]],
        settings: DeferredSettings,
    ) -> None:
        self._deployments = deployments
        self._predictions = predictions
        self._carrier = carrier
        self._away = away
        self._catch_up = catch_up
        self._settings = settings

    async def explain(self, task_id: str) -> None:
        """Why no replica is ready. Raises `DeploymentNotFound`, or `DeploymentNotReady` with the reason and when to try
        again. Returns if one is after all: another gateway knew of it first."""
        found = await self._deployments.get(task_id)
        answers = found.desired is Desired.RUN and found.status.phase in _ANSWERING
        if not (answers and await self._catch_up(task_id, _BEHIND_SECONDS)):
            raise _not_ready(found)

    async def submit(
        self, task_id: str, question: Question, *, wait: float = 0, timeout: str | None = None, key: str | None = None
    ) -> tuple[Prediction, bool]:
        """Keep the question, and answer it whatever becomes of this gateway. Returns after at most `wait` seconds.

        Returns the prediction, and whether it is new: the same key and question make one. `timeout` is the client's
        X-Request-Timeout: an answer that comes later is of no use to it. Raises `DeploymentNotFound`,
        `DeploymentNotReady` if it is being deleted, `TooManyPending`, `TimeoutInvalid`, `IdempotencyKeyInvalid`,
        `IdempotencyKeyReused`, and `PredictionExpired` if the key's result has.
        """
        new = self._new(task_id, question, _seconds(timeout), key)
        kept = await self._predictions.add(new)
        if kept is None:
            raise _not_ready(await self._deployments.get(task_id))
        if isinstance(kept, str):
            return await self.result(kept), False
        self._carrier.carry(kept.claim)
        outcome = await self._carrier.wait(kept.claim, wait) if wait else None
        prediction = Prediction(
            id=new.id,
            task_id=task_id,
            deployment_uid=kept.claim.deployment_uid,
            request_id=question.request_id,
            created_at=new.created_at,
            deadline_at=new.deadline_at,
            ahead=kept.ahead,
            outcome=outcome,
        )
        return prediction, True

    async def result(self, id: str) -> Prediction:
        """Raises `PredictionNotFound` or `PredictionExpired`."""
        if not _ID.fullmatch(id):
            raise PredictionNotFound(id)
        found = await self._predictions.get(id)
        if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
            raise PredictionExpired(id, found.expires_at.isoformat(timespec="seconds"))
        return found

    def expected(self, prediction: Prediction) -> float | None:
        """In how many seconds it has its answer; None if nothing tells."""
        away = self._away(prediction.task_id)
        known = self._carrier.expected(prediction.deployment_uid, prediction.ahead)
        return away or None if known is None else max(known, away)

    def _new(self, task_id: str, question: Question, timeout: float, key: str | None) -> NewPrediction:
        now = datetime.now(UTC)
        return NewPrediction(
            id=secrets.token_hex(16),
            task_id=task_id,
            holder=self._carrier.holder,
            question=question,
            created_at=now,
            deadline_at=now + timedelta(seconds=min(timeout, self._settings.deadline_seconds)),
            idempotency=None if key is None else _idempotency(key, question),
        )


def lasting(headers: Headers) -> Headers:
    """The headers of a request that its model shall see later: no credentials, and nothing about this connection."""
    return tuple(header for header in headers if header[0] not in _STOPS)


def _seconds(timeout: str | None) -> float:
    if timeout is None:
        return math.inf
    try:
        return seconds(timeout.encode("latin-1"))
    except HeadRefused as refused:
        raise TimeoutInvalid(str(refused)) from None


def _idempotency(key: str, question: Question) -> Idempotency:
    if not 1 <= len(key) <= LONGEST_KEY:
        raise IdempotencyKeyInvalid(LONGEST_KEY)
    content = hashlib.sha256(question.body)
    content.update(dict(question.headers).get(b"content-type", b""))
    return Idempotency(hashlib.sha256(key.encode()).hexdigest(), content.hexdigest())


def _not_ready(found: Deployment) -> DeploymentNotReady:
    if found.desired is Desired.STOP:
        return DeploymentNotReady(found.task_id, "Deleting", "it is being deleted.", retry_after=30, may_recover=False)
    seen = found.status
    ready = find(seen.conditions, "Ready")
    wakes = found.elastic is not None and seen.phase is not DeploymentPhase.FAILED
    left = found.wake_left(datetime.now(UTC)) if wakes else None
    return DeploymentNotReady(
        found.task_id,
        ready.reason if ready else seen.phase.value,
        ready.message if ready else "it was accepted a moment ago.",
        retry_after=_RETRY_AFTER.get(seen.phase, 30) if left is None else max(1, math.ceil(left)),
        may_recover=wakes or seen.phase in _RETRY_AFTER,
    )
