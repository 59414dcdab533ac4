"""Where a stage of a profile may run: node selector, tolerations and runtime class, checked as a cluster would."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from app.core import specs

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def _text(value: object) -> object:
    if isinstance(value, bool | int | float):
        raise ValueError(f"must be a string; put {str(value).lower()} in quotes")
    return value


def _label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not _DOMAIN.fullmatch(prefix)):
        raise ValueError(f"{key!r} is no label key; write it as in disk or example.com/disk")
    return key


def _label_value(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no label value: at most 63 letters, digits, dots, hyphens and underscores")
    return value


def _class_name(name: str) -> str:
    if name and not _DOMAIN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a runtime class: use lower-case letters, digits, hyphens and dots")
    return name


LabelKey = Annotated[str, AfterValidator(_label_key), BeforeValidator(_text)]
LabelValue = Annotated[str, AfterValidator(_label_value), BeforeValidator(_text)]
ClassName = Annotated[str, AfterValidator(_class_name), BeforeValidator(_text)]


class Toleration(BaseModel):
    """As in a pod; a cluster's own rules, so that a mistake shows here and not when a job is launched."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)

    key: Annotated[str, BeforeValidator(_text)] = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Toleration:
        if self.key:
            _label_key(self.key)
        elif self.operator != "Exists":
            raise ValueError("without a key its operator must be Exists, which tolerates every taint")
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise ValueError("tolerationSeconds goes with effect NoExecute only")
        return self

    def spec(self) -> specs.Toleration:
        return specs.Toleration(self.key, self.operator, self.value, self.effect, self.toleration_seconds)
