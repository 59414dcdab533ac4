"""Bodies of what the platform offers: profiles, capabilities, health, dry runs."""

from __future__ import annotations

from typing import Any

from app.core.profiles import Profile, Stage
from app.schemas.wire import Answer


class HyperparameterAnswer(Answer):
    type: str
    default: bool | int | float | str
    minimum: float | None
    maximum: float | None
    choices: list[str] | None
    description: str


class StageAnswer(Answer):
    image: str
    cpu_millis: int
    memory_bytes: int
    gpus: int

    @classmethod
    def of(cls, stage: Stage) -> StageAnswer:
        return cls(image=stage.image, cpu_millis=stage.cpu, memory_bytes=stage.memory, gpus=stage.gpu)


class ProfileAnswer(Answer):
    name: str
    description: str
    family: str
    warm_start: bool
    start_deadline_seconds: int
    run_deadline_seconds: int | None
    training: StageAnswer
    serving: StageAnswer
    hyperparameters: dict[str, HyperparameterAnswer]

    @classmethod
    def of(cls, name: str, profile: Profile) -> ProfileAnswer:
        return cls(
            name=name,
            description=profile.description,
            family=profile.family,
            warm_start=profile.warm_start,
            start_deadline_seconds=round(profile.start_deadline.total_seconds()),
            run_deadline_seconds=round(limit.total_seconds()) if (limit := profile.training.run_deadline) else None,
            training=StageAnswer.of(profile.training),
            serving=StageAnswer.of(profile.serving),
            hyperparameters={
                key: HyperparameterAnswer(**declared.model_dump()) for key, declared in profile.hyperparameters.items()
            },
        )


class ProfileList(Answer):
    items: list[ProfileAnswer]


class RuntimeAnswer(Answer):
    name: str
    gpus: int
    isolation_gaps: list[str]
    details: dict[str, str]


class TrackingAnswer(Answer):
    uri: str


class CapabilitiesAnswer(Answer):
    version: str
    runtime: RuntimeAnswer
    tracking: TrackingAnswer
    predict_deadline_seconds: float


class CheckAnswer(Answer):
    """`code` is that of the outage, empty if there is none."""

    ok: bool
    code: str
    message: str


class ReadinessAnswer(Answer):
    status: str
    checks: dict[str, CheckAnswer]


class DryRunAnswer(Answer):
    """What would be launched; nothing was."""

    dry_run: bool = True
    runtime: str
    launch: dict[str, Any]
