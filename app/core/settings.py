"""Settings: read once from the environment (`MLOPS_...`, `__` between levels), frozen, handed down in slices."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.errors import ConfigurationError
from app.core.names import DNS_LABEL
from app.core.quantities import memory_bytes

CHECKOUT = Path(__file__).resolve().parents[2]
PREFIX = "MLOPS_"


class Slice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _bytes(value: object) -> object:
    """The bytes of a quantity such as 20Gi."""
    return memory_bytes(value) if isinstance(value, str) else value


class HttpSettings(Slice):
    """Where the gateway listens. Without accounts only loopback is safe, so that is the default."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65535)
    max_body_bytes: int = Field(1 << 20, ge=1024, description="of a request that is not a prediction")
    body_seconds: float = Field(30, gt=0, description="until the body of such a request must have arrived")


class StoreSettings(Slice):
    """`url` is an SQLAlchemy URL (`sqlite+aiosqlite:///...`, `postgresql+asyncpg://...`); none: SQLite in `home`."""

    url: SecretStr | None = None


class TrackingSettings(Slice):
    """With `uri`, an MLflow that others run; without it the platform runs its own on `port`."""

    uri: str | None = None
    port: int = Field(5000, ge=1, le=65535)
    timeout_seconds: float = Field(10, gt=0)
    patience_seconds: int = Field(300, ge=0, description="how long a trainer waits for an MLflow that is away")


class LocalRuntimeSettings(Slice):
    """The local runtime. `python` runs trainers and servers; `gpus` overrides what the machine shows."""

    python: Path = Path(sys.executable)
    gpus: int | None = Field(None, ge=0)
    interrupt_patience_seconds: float = Field(20, ge=0)
    terminate_patience_seconds: float = Field(10, ge=0)


def _listed(value: object) -> object:
    """The parts of a list that is written with commas."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class KubernetesRuntimeSettings(Slice):
    """The Kubernetes runtime. Without `kubeconfig` the gateway runs in the cluster; `gpus` overrides what nodes show.

    `registry` stands before the images of profiles; `secret` holds what trainers need to reach data in S3.
    """

    namespace: str = Field("modelyard", pattern=DNS_LABEL, max_length=63)
    kubeconfig: Path | None = None
    registry: str = ""
    secret: str = "modelyard-task-secrets"  # noqa: S105 - a name
    work_claim: str = Field("", description="a ReadWriteMany claim, so that interrupted jobs go on where they were")
    model_cache: str = Field(
        "", pattern=f"^$|^/.|{DNS_LABEL}", description="a folder of each node or a claim, where servers share models"
    )
    gpus: int | None = Field(None, ge=0)
    reach: Literal["pod", "service", "apiserver"] = Field(
        "pod", description="how predictions go to pods; apiserver serves a gateway outside the cluster"
    )
    trainer_images: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("localhost:5002",), description="registries and repositories whose images trainerImage may name; * means any"
    )
    queue: str = Field("", pattern=f"^$|{DNS_LABEL}", max_length=63, description="of Kueue, for jobs that name none")
    job_ttl_seconds: int | None = Field(None, ge=600, description="when Jobs that ended are removed, with their logs")
    node_patience_seconds: float = Field(300, ge=0, description="until a job on a silent node counts as NodeLost")


class LogSettings(Slice):
    """Where logs go that shall outlive their pods. Without a `url` they end with them.

    `access_key` and `secret_key` may also come from the usual AWS variables, as may the rest.
    """

    url: str = Field("", pattern=r"^((s3|file)://.+)?$", description="s3://bucket/prefix or file:///folder")
    endpoint: str = Field("", pattern=r"^(https?://[^@]+)?$", description="of a store that is not Amazon's")
    region: str = ""
    access_key: str = ""
    secret_key: SecretStr = SecretStr("")


class PredictSettings(Slice):
    """How predictions pass the gateway. A client may shorten the deadline with X-Request-Timeout."""

    deadline_seconds: float = Field(60, gt=0)
    connect_timeout_seconds: float = Field(2, gt=0)
    hold_seconds: float = Field(60, ge=0, description="how long a prediction waits while replicas are being replaced")
    held_requests: int = Field(1000, ge=0, description="how many wait so at once for one deployment, in each gateway")
    in_flight_per_replica: int = Field(1024, ge=1, description="more at once are refused with 503, in each gateway")


class DeferredSettings(Slice):
    """Predictions with `Prefer: respond-async`. The bounds are of all gateways; `concurrency` is of each.

    A result is kept for `result_seconds`, and that there was one for as long again.
    """

    longest_wait_seconds: int = Field(60, ge=0, description="how long a request may wait for its answer, if it asks to")
    answer_seconds: float = Field(600, gt=0, description="how long a replica may take for one")
    deadline_seconds: float = Field(3600, gt=0, description="after which one without an answer has failed")
    result_seconds: float = Field(86400, gt=0)
    concurrency: int = Field(2, ge=1, description="how many go to each replica at once: it has other callers too")
    max_body_bytes: int = Field(8 << 20, ge=1024)
    max_answer_bytes: int = Field(16 << 20, ge=1024)
    pending_per_deployment: int = Field(1000, ge=0)
    pending: int = Field(10_000, ge=0)
    pending_bytes_per_deployment: int = Field(128 << 20, ge=0)
    pending_bytes: int = Field(512 << 20, ge=0)


class ControllerSettings(Slice):
    period_seconds: float = Field(1, gt=0)
    lease_seconds: float = Field(5, gt=0)


class Settings(BaseSettings):
    """All settings. Unknown `MLOPS_` variables are refused, so a misspelt one is never silently ignored."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    home: Path = CHECKOUT / ".modelyard"
    profiles: Path = CHECKOUT / "model_profiles.yaml"
    runtime: Literal["local", "kubernetes"] = "local"
    log_format: Literal["console", "json"] = "console"
    model_cache_size: Annotated[int, BeforeValidator(_bytes)] = Field(
        20 << 30, ge=1 << 20, description="bytes of models that servers keep, in each folder that they share"
    )
    http: HttpSettings = HttpSettings()
    store: StoreSettings = StoreSettings()
    tracking: TrackingSettings = TrackingSettings()
    local: LocalRuntimeSettings = LocalRuntimeSettings()
    kubernetes: KubernetesRuntimeSettings = KubernetesRuntimeSettings()
    logs: LogSettings = LogSettings()
    predict: PredictSettings = PredictSettings()
    deferred: DeferredSettings = DeferredSettings()
    controller: ControllerSettings = ControllerSettings()

    @property
    def store_url(self) -> str:
        if self.store.url is not None:
            return self.store.url.get_secret_value()
        return f"sqlite+aiosqlite:///{self.home.absolute()}/modelyard.db"

    @property
    def predict_later(self) -> PredictSettings:
        """For predictions that nobody waits for: they may take longer, and hold no place that others need."""
        later = {"deadline_seconds": self.deferred.answer_seconds, "held_requests": self.deferred.pending}
        return self.predict.model_copy(update=later)

    @property
    def tracking_uri(self) -> str:
        return (self.tracking.uri or f"http://127.0.0.1:{self.tracking.port}").rstrip("/")


def load_settings() -> Settings:
    """The settings of this process's environment. Raises `ConfigurationError` naming each bad variable."""
    if unknown := unknown_variables(os.environ):
        raise ConfigurationError(f"Unknown settings in the environment: {', '.join(unknown)}.")
    try:
        return Settings()
    except ValidationError as error:
        complaints = (f"{_variable(e['loc'])}: {e['msg']}" for e in error.errors(include_input=False))
        raise ConfigurationError("Bad settings in the environment. " + "; ".join(complaints)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """The names among `environment` that look like settings and are none."""
    known = set(_known_variables(Settings, PREFIX))
    return sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)


def _known_variables(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        names.append(variable)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _known_variables(field.annotation, f"{variable}__")
    return names


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part).upper() for part in location)
