"""Records: what the API answers, as frozen dataclasses that keep calm when a newer gateway says more than they know."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from types import NoneType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints


class Word(StrEnum):
    """An enumeration that takes words it does not know for new members of their own."""

    @classmethod
    def _missing_(cls, value: object) -> Word | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


class JobPhase(Word):
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class DeploymentPhase(Word):
    DEPLOYING = "Deploying"
    READY = "Ready"
    DEGRADED = "Degraded"
    ASLEEP = "Asleep"
    FAILED = "Failed"
    DELETING = "Deleting"


class Kind(StrEnum):
    """The two things that a task id can name."""

    JOB = "job"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One JSON object of the API. `raw` is the object as it came, with the fields that have no attribute here."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, body: object) -> Self:
        """Read an object. Unknown fields stay in `raw`; missing and null ones take their defaults."""
        raw = body if isinstance(body, Mapping) else {}
        attributes = _attributes(cls)  # type: ignore[arg-type]  # mypy takes a record's hash for its class's
        return cls(raw=raw, **{name: read(raw[key]) for name, key, read in attributes if raw.get(key) is not None})


@dataclass(frozen=True, kw_only=True)
class Condition(Record):
    """`reason` is one stable word for programs, `message` a sentence for people; `status` is True, False or Unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Progress(Record):
    """How far a job is, in percent (None before the first epoch), and its newest metrics by name."""

    percent: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Termination(Record):
    """How a job's process ended; `signal` is a name such as SIGKILL."""

    reason: str = ""
    exit_code: int | None = None
    signal: str | None = None
    message: str = ""
    finish_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class JobStatus(Record):
    """What is known of a job; `phase` sums the conditions up in one word."""

    task_id: str = ""
    phase: JobPhase = field(default=JobPhase.QUEUED, metadata={"key": "status"})
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    progress: Progress | None = None
    mlflow_run_id: str | None = None
    termination: Termination | None = None
    notes: tuple[str, ...] = ()
    create_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None

    @property
    def is_final(self) -> bool:
        return self.phase in (JobPhase.SUCCEEDED, JobPhase.FAILED, JobPhase.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """One training run, as it was asked for and as it stands."""

    task_id: str = ""
    uid: str = ""
    experiment_name: str = ""
    model_profile: str = ""
    custom_model_name: str = ""
    dataset_path: str = ""
    initial_model_file_path: str | None = None
    trainer_image: str | None = None
    use_gpu: bool = False
    queue: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    create_time: datetime | None = None
    status: JobStatus = field(default_factory=JobStatus)

    kind: ClassVar = Kind.JOB


@dataclass(frozen=True, kw_only=True)
class Replicas(Record):
    wanted: int = 0
    ready: int = 0


@dataclass(frozen=True, kw_only=True)
class Wake(Record):
    """What a start from no replica took, in seconds by phase and in all."""

    schedule: float = 0.0
    pull: float = 0.0
    start: float = 0.0
    fetch: float = 0.0
    load: float = 0.0
    warm_up: float = 0.0
    total: float = 0.0
    finish_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DeploymentStatus(Record):
    """What is known of a deployment; `phase` sums the conditions up in one word."""

    task_id: str = ""
    phase: DeploymentPhase = field(default=DeploymentPhase.DEPLOYING, metadata={"key": "status"})
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    replicas: Replicas = field(default_factory=Replicas)
    restarts: int = 0
    wakes: int = 0
    wake_seconds: float | None = None
    last_wake: Wake | None = None
    revision: int = 1
    serving_revision: int | None = None
    mlflow_run_id: str | None = None
    model_version: str | None = None
    notes: tuple[str, ...] = ()
    create_time: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether all replicas answer, or it sleeps until it is asked, or it has failed."""
        return self.phase in (DeploymentPhase.READY, DeploymentPhase.FAILED, DeploymentPhase.ASLEEP)


@dataclass(frozen=True, kw_only=True)
class Deployment(Record):
    """One deployed model, as it was asked for and as it stands.

    `replicas` is the count asked for or, where there are bounds, the one that its load takes now.
    """

    task_id: str = ""
    uid: str = ""
    model_id: str = ""
    model_profile: str = ""
    mlflow_run_id: str | None = None
    model_name: str | None = None
    alias: str | None = None
    version: str | None = None
    use_gpu: bool = False
    replicas: int = 1
    min_replicas: int | None = None
    max_replicas: int | None = None
    target_concurrency: int | None = None
    idle_seconds: int | None = None
    create_time: datetime | None = None
    status: DeploymentStatus = field(default_factory=DeploymentStatus)

    kind: ClassVar = Kind.DEPLOYMENT


@dataclass(frozen=True, kw_only=True)
class Prediction(Record):
    """A prediction that is answered later. `ahead` came before and wait too; None where nothing tells the estimate."""

    id: str = ""
    task_id: str = ""
    is_done: bool = False
    ahead: int = 0
    estimate_seconds: float | None = None
    create_time: datetime | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Profile(Record):
    """A kind of model that can be trained and served; `hyperparameters` by name, each with type, range and default."""

    name: str = ""
    description: str = ""
    family: str = ""
    warm_start: bool = False
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


def camel_case(name: str) -> str:
    """The API's spelling of a Python name: task_id is taskId."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)


@cache
def _attributes(cls: type[Record]) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """Of a class of records: each attribute's name, its key in the JSON, and how to read it."""
    hints = get_type_hints(cls)
    return tuple((f.name, _key(f), _converter(hints[f.name])) for f in fields(cls) if f.name != "raw")


def _key(attribute: Field[Any]) -> str:
    return str(attribute.metadata.get("key") or camel_case(attribute.name))


def _converter(hint: Any) -> Callable[[Any], Any]:
    """From JSON to the attribute's type; plain JSON types pass as they are."""
    if NoneType in get_args(hint):
        return _converter(next(option for option in get_args(hint) if option is not NoneType))
    if get_origin(hint) is tuple:
        return partial(_sequence, _converter(get_args(hint)[0]))
    if hint is datetime:
        return _moment
    if isinstance(hint, type) and issubclass(hint, Record):
        return hint.from_json
    if isinstance(hint, type) and issubclass(hint, Word):
        return lambda value: hint(str(value))
    return lambda value: value


def _sequence(convert: Callable[[Any], Any], values: list[Any]) -> tuple[Any, ...]:
    return tuple(convert(value) for value in values)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
