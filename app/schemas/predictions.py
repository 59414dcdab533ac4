"""What predictions that are answered later say of themselves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.core.predictions import Prediction
from app.schemas.wire import Answer, Moment


class PendingAnswer(Answer):
    """A prediction that has no answer yet. Ask for it again; `Retry-After` says when."""

    id: str = Field(
        description="unguessable; who has it may read the result", examples=["9f2c4b7d1e6a48d0b5c3a7e19f2c4b7d"]
    )
    task_id: str
    status: Literal["Pending"] = "Pending"
    ahead: int = Field(description="how many of the same deployment came before and wait too")
    estimate_seconds: float | None = Field(description="until it has its answer; null if nothing tells yet")
    request_id: str = Field(description="of the request that asked for it")
    create_time: Moment
    deadline: Moment = Field(description="without an answer until then it has failed")

    @classmethod
    def of(cls, prediction: Prediction, expected: float | None) -> PendingAnswer:
        return cls(
            id=prediction.id,
            task_id=prediction.task_id,
            ahead=prediction.ahead,
            estimate_seconds=None if expected is None else round(expected, 3),
            request_id=prediction.request_id,
            create_time=prediction.created_at,
            deadline=prediction.deadline_at,
        )
