"""Predictions that are answered later: what was asked, who carries it out, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Question:
    """What goes to the model: the headers that matter, names in lower case, and the body byte for byte."""

    headers: Headers
    body: bytes
    request_id: str

    @property
    def size(self) -> int:
        """Bytes that it takes to keep."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key, and what it was sent with; both as digests."""

    key: str
    content: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to answer one prediction. A later attempt, by whoever took it over, makes this one void."""

    id: str
    task_id: str
    deployment_uid: str
    request_id: str
    attempt: int
    deadline_at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer as it is kept: the model's own, or a problem document that says why there is none."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Prediction:
    """One prediction as the store knows it. `ahead` counts those of its deployment that came before and still wait.

    It waits while `answered_at` is None; `outcome` is None again once `expires_at` has passed.
    """

    id: str
    task_id: str
    deployment_uid: str
    request_id: str
    created_at: datetime
    deadline_at: datetime
    ahead: int = 0
    outcome: Outcome | None = None
    answered_at: datetime | None = None
    expires_at: datetime | None = None
