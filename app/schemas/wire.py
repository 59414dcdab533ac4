"""The base of all bodies.

A request refuses unknown fields and coerces nothing: `useGpu: 0` is no boolean. An answer is built by name in Python.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from app.core.names import DNS_LABEL, TASK_ID_MAX


class Request(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=False, frozen=True)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]
TaskId = Annotated[
    str,
    Field(
        pattern=DNS_LABEL,
        min_length=1,
        max_length=TASK_ID_MAX,
        description="Lower-case letters, digits and hyphens; names of what is launched follow from it",
        examples=["train-reg-01"],
    ),
]
ModelId = Annotated[
    str,
    Field(
        pattern=DNS_LABEL,
        min_length=1,
        max_length=TASK_ID_MAX,
        description="Lower-case letters, digits and hyphens; unique among deployments",
        examples=["predictor-house-v1"],
    ),
]
