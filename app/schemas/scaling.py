"""The fields of a body that say how many replicas a deployment has, and what they mean together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import Field

from app.core.errors import Cause, InvalidRequest
from app.core.scaling import Elastic
from app.schemas.wire import Request

MOST = 100
TARGET_CONCURRENCY, IDLE_SECONDS = 16, 300

Replicas = Annotated[int, Field(ge=0, le=MOST)]
MinReplicas = Annotated[
    int | None, Field(ge=0, le=MOST, description="it has at least so many (1); with 0 it sleeps when it is idle")
]
MaxReplicas = Annotated[
    int | None, Field(ge=1, le=MOST, description="it has at most so many (as minReplicas, but no less than 1)")
]
TargetConcurrency = Annotated[
    int | None, Field(ge=1, le=10000, description=f"predictions in flight a replica, on average ({TARGET_CONCURRENCY})")
]
IdleSeconds = Annotated[
    int | None, Field(ge=1, le=7 * 86400, description=f"without a prediction until it sleeps ({IDLE_SECONDS})")
]
_NAMES = {
    "min_replicas": "minReplicas",
    "max_replicas": "maxReplicas",
    "target_concurrency": "targetConcurrency",
    "idle_seconds": "idleSeconds",
}


class ScalingRequest(Request):
    """`replicas` is a fixed number; minReplicas and maxReplicas are bounds within which it follows the load."""

    min_replicas: MinReplicas = None
    max_replicas: MaxReplicas = None
    target_concurrency: TargetConcurrency = None
    idle_seconds: IdleSeconds = None

    @property
    def is_elastic(self) -> bool:
        """Whether any of the fields is given that let it follow the load."""
        return bool(self._given)

    @property
    def _given(self) -> dict[str, int]:
        found = {name: getattr(self, name) for name in _NAMES}
        return {name: value for name, value in found.items() if value is not None}

    def elastic(self, kept: Elastic | None = None) -> Elastic | None:
        """The bounds after this body, whose missing fields leave those that are `kept` as they are; None: a fixed
        number. Raises `InvalidRequest` for fields that contradict each other."""
        given = self._given
        if "replicas" in self.model_fields_set and getattr(self, "replicas", None) is not None:
            if given:
                raise _refused(
                    ("replicas", *given), "Send either replicas, a fixed number, or bounds to follow the load."
                )
            return None
        if not given:
            return kept
        if kept is None and not given.keys() & {"min_replicas", "max_replicas"}:
            raise _refused(given, "It belongs to minReplicas and maxReplicas: send one of those as well.")
        return _checked(given, _merged(given, kept))


def _merged(given: Mapping[str, int], kept: Elastic | None) -> Elastic:
    least = given.get("min_replicas", kept.min_replicas if kept else 1)
    return Elastic(
        min_replicas=least,
        max_replicas=given.get("max_replicas", kept.max_replicas if kept else max(1, least)),
        target_concurrency=given.get("target_concurrency", kept.target_concurrency if kept else TARGET_CONCURRENCY),
        idle_seconds=given.get("idle_seconds", kept.idle_seconds if kept else IDLE_SECONDS),
    )


def _checked(given: Mapping[str, int], merged: Elastic) -> Elastic:
    least, most = merged.min_replicas, merged.max_replicas
    if least > most:
        bounds = [name for name in ("min_replicas", "max_replicas") if name in given]
        raise _refused(bounds, f"minReplicas would be {least} and maxReplicas {most}, which is less.")
    if "idle_seconds" in given and least > 0:
        raise _refused(
            ["idle_seconds"], f"With minReplicas {least} it never sleeps: send minReplicas 0, or leave it out."
        )
    return merged


def _refused(names: Iterable[str], detail: str) -> InvalidRequest:
    spelled = [_NAMES.get(name, name) for name in names]
    return InvalidRequest(detail, [Cause(f"/{name}", detail) for name in spelled])
