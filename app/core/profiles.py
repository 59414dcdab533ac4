"""Model profiles: what can be trained and served, with which program, resources and hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from app.core import quantities
from app.core.errors import Cause, ConfigurationError, InvalidRequest, ProfileUnknown
from app.core.placement import ClassName, LabelKey, LabelValue, Toleration
from app.core.specs import Placement, Resources

FamilyName = Literal[
    "tabular_regression", "tabular_classification", "image_classification", "text_classification", "text_generation"
]
Scalar = str | int | float | bool


def _text(value: object) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError("must be a quantity such as 500m, 2Gi or 10m")
    return str(value)


CpuMillis = Annotated[int, BeforeValidator(lambda value: quantities.cpu_millis(_text(value)))]
MemoryBytes = Annotated[int, BeforeValidator(lambda value: quantities.memory_bytes(_text(value)))]
Duration = Annotated[timedelta, BeforeValidator(lambda value: quantities.duration(_text(value)))]


class _Entry(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, alias_generator=to_camel, hide_input_in_errors=True
    )


class Hyperparameter(_Entry):
    """One hyperparameter: its type, default and range; a string may name its choices."""

    type: Literal["integer", "number", "string", "boolean"]
    default: Scalar
    minimum: float | None = None
    maximum: float | None = None
    choices: list[str] | None = None
    description: str = ""

    @model_validator(mode="after")
    def _default_is_valid(self) -> Hyperparameter:
        if complaint := self.complaint(self.default):
            raise ValueError(f"default {complaint}")
        return self

    def complaint(self, value: object) -> str | None:
        """What is wrong with `value`, as the end of a sentence; None if nothing is."""
        if complaint := _type_complaint(self.type, value):
            return complaint
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.minimum is not None and value < self.minimum:
                return f"must be at least {self.minimum:g}"
            if self.maximum is not None and value > self.maximum:
                return f"must be at most {self.maximum:g}"
        if self.choices is not None and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        return None


def _type_complaint(type_: str, value: object) -> str | None:
    match type_, value:
        case ("string", str()):
            if "\0" in value:  # neither databases nor processes take it
                return "must not contain the character NUL"
            return None if len(value) <= 1000 else "must have at most 1000 characters"
        case ("boolean", bool()):
            return None
        case ("integer" | "number", int()) if not isinstance(value, bool):
            return None
        case ("number", float()) if math.isfinite(value):
            return None
    return f"must be {_TYPE_WORDS[type_]}"


_TYPE_WORDS = {"boolean": "true or false", "string": "a string", "integer": "an integer", "number": "a finite number"}


class Stage(_Entry):
    """What one stage of a model's life (training, serving) may use, and where. `gpu` is what `useGpu: true` gives."""

    image: Annotated[str, Field(min_length=1)]
    cpu: CpuMillis
    memory: MemoryBytes
    gpu: Annotated[int, Field(ge=0, le=64)] = 0
    node_selector: dict[LabelKey, LabelValue] = {}
    tolerations: list[Toleration] = []
    runtime_class: ClassName = ""

    @property
    def placement(self) -> Placement:
        return Placement(self.node_selector, tuple(one.spec() for one in self.tolerations), self.runtime_class)

    def resources(self, *, use_gpu: bool) -> Resources:
        return Resources(self.cpu, self.memory, self.gpu if use_gpu else 0)


class TrainingStage(Stage):
    """`run_deadline` is the longest that one run may take."""

    run_deadline: Annotated[Duration, Field(gt=timedelta())] | None = None


class ServingStage(Stage):
    """Requests that wait are predicted together, so many rows at most, if that delays none by more than the latency."""

    max_batch_rows: Annotated[int, Field(ge=1, le=65536)] = 1024
    batch_latency_ms: Annotated[int, Field(ge=0, le=60_000)] = 50


class Profile(_Entry):
    """One kind of model."""

    description: str = ""
    family: FamilyName
    warm_start: bool = False
    start_deadline: Duration
    training: TrainingStage
    serving: ServingStage
    hyperparameters: dict[str, Hyperparameter]

    def resolve(self, given: Mapping[str, object]) -> dict[str, Scalar]:
        """All hyperparameters, defaults filled in. Raises `InvalidRequest` with a cause for each bad one."""
        causes = [
            Cause(f"/hyperparameters/{_escape(name)}", f"{name} is none of {', '.join(self.hyperparameters)}")
            for name in given
            if name not in self.hyperparameters
        ]
        for name, declared in self.hyperparameters.items():
            if name in given and (complaint := declared.complaint(given[name])):
                causes.append(Cause(f"/hyperparameters/{_escape(name)}", f"{name} {complaint}"))
        if causes:
            raise InvalidRequest("; ".join(cause.detail for cause in causes) + ".", causes)
        return {name: given.get(name, declared.default) for name, declared in self.hyperparameters.items()}  # type: ignore[misc]


def _escape(part: str) -> str:
    """One reference token of a JSON pointer (RFC 6901, section 3)."""
    return part.replace("~", "~0").replace("/", "~1")


class _File(_Entry):
    profiles: Annotated[dict[str, Profile], Field(min_length=1)]


class Profiles:
    """The profiles of one file, by name."""

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self._profiles = dict(profiles)

    def __getitem__(self, name: str) -> Profile:
        if name not in self._profiles:
            raise ProfileUnknown(name, list(self._profiles))
        return self._profiles[name]

    def items(self) -> Iterator[tuple[str, Profile]]:
        return iter(self._profiles.items())

    @classmethod
    def read(cls, path: Path) -> Profiles:
        """Read `path`. A mistake raises `ConfigurationError` with the file, the line and the key."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), path.name)
        except OSError as error:
            raise ConfigurationError(f"The model profiles cannot be read: {error}") from error

    @classmethod
    def parse(cls, text: str, source: str) -> Profiles:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            content = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigurationError(f"{source}:{line}: not YAML: {error.problem}") from error
        _refuse_doubled_keys(root, source)
        try:
            return cls(_File.model_validate(content).profiles)
        except ValidationError as error:
            complaints = (_complaint(e["loc"], e["msg"], root, source) for e in error.errors(include_input=False))
            raise ConfigurationError("\n".join(complaints)) from None


def _complaint(location: tuple[int | str, ...], message: str, root: yaml.Node | None, source: str) -> str:
    key = ".".join(str(part) for part in location) or "the file"
    return f"{source}:{_line(root, location)}: {key}: {message.removeprefix('Value error, ')}"


def _line(root: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the way to `location` that exists."""
    node, line = root, 1
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _refuse_doubled_keys(node: Any, source: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _refuse_doubled_keys(child, source)
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            raise ConfigurationError(f"{source}:{key.start_mark.line + 1}: {key.value}: stands here a second time")
        seen.add(key.value)
        _refuse_doubled_keys(value, source)
