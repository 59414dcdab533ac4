"""Errors, in two families: refusals, which the caller can mend, and outages, where we or a neighbour failed.

HTTP is not mentioned here: `app/routers/errors.py` is the one table from error class to status. `code` is stable and
part of the API; a refusal's text is written for the caller and carries no secret; an outage's text is for the log, the
caller sees its class's `public` sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with the request: a JSON pointer (RFC 6901) into its body, and a sentence."""

    pointer: str
    detail: str


class Refusal(Exception):  # noqa: N818 - the name says what it is
    """The request cannot be met as it stands; the caller can mend it."""

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "The request was refused"
    retry_after: int | None = None  # seconds
    may_recover: bool | None = None  # whether time alone may help; None: the status tells

    def __init__(self, detail: str, causes: Sequence[Cause] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.causes = tuple(causes)


class Outage(Exception):  # noqa: N818
    """We, or a neighbour we need, failed; the same request may succeed later."""

    code: ClassVar[str] = "outage"
    public: str = "A part of the platform does not answer at the moment. Try again shortly."

    def __init__(self, cause: str) -> None:
        super().__init__(cause)


class InvalidRequest(Refusal):
    code = "invalid-request"
    title = "The request body is not valid"

    @classmethod
    def at(cls, pointer: str, detail: str) -> InvalidRequest:
        return cls(detail, [Cause(pointer, detail)])


class InvalidParameter(Refusal):
    """A query parameter is wrong: a page token, a filter, a time."""

    code = "invalid-parameter"
    title = "A query parameter is not valid"

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"Query parameter {name!r}: {detail}")
        self.name = name


class ProfileUnknown(InvalidRequest):
    code = "profile-unknown"
    title = "There is no such model profile"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        detail = f"There is no model profile {name!r}. Known profiles: {', '.join(known)}."
        super().__init__(detail, [Cause("/modelProfile", detail)])
        self.name = name
        self.known = tuple(known)


class GpuNotAllowed(InvalidRequest):
    code = "gpu-not-allowed"
    title = "This profile does not use GPUs"

    def __init__(self, profile: str) -> None:
        detail = f"Profile {profile!r} gives no GPU. Send useGpu: false, or choose a profile that allows GPUs."
        super().__init__(detail, [Cause("/useGpu", detail)])


class ImageNotAllowed(InvalidRequest):
    code = "image-not-allowed"
    title = "Images from there are not allowed"

    def __init__(self, image: str, allowed: Sequence[str]) -> None:
        where = f"Images from {', '.join(allowed)} are" if allowed else "No image of a request's own is"
        detail = f"The image {image!r} is not allowed. {where} allowed; without trainerImage the profile's is used."
        super().__init__(detail, [Cause("/trainerImage", detail)])
        self.allowed = tuple(allowed)


class QueueUnavailable(InvalidRequest):
    code = "queue-unavailable"
    title = "There are no queues here"

    def __init__(self, queue: str, why: str) -> None:
        detail = f"There is no queue {queue!r} to wait in. {why} Leave queue out."
        super().__init__(detail, [Cause("/queue", detail)])


class RunNotFound(InvalidRequest):
    code = "run-not-found"
    title = "MLflow knows no such run"

    def __init__(self, run_id: str) -> None:
        detail = f"MLflow knows no run {run_id!r}. Copy the run id from MLflow's page of the run."
        super().__init__(detail, [Cause("/mlflowRunId", detail)])


class RunHasNoModel(InvalidRequest):
    code = "run-has-no-model"
    title = "The run logged no model"

    def __init__(self, run_id: str, detail: str) -> None:
        super().__init__(detail, [Cause("/mlflowRunId", detail)])
        self.run_id = run_id


class ModelVersionNotFound(InvalidRequest):
    code = "model-version-not-found"
    title = "The registry knows no such model version"

    def __init__(self, name: str, wanted: str, pointer: str) -> None:
        detail = f"The model registry knows no {wanted} of a model {name!r}."
        super().__init__(detail, [Cause(pointer, detail)])


class FrameworkMissing(Refusal):
    code = "framework-missing"
    title = "The profile's framework is not installed here"

    def __init__(self, profile: str, packages: Sequence[str], install: str) -> None:
        super().__init__(
            f"{profile} needs {', '.join(packages)}, not installed on this machine. Install with: {install}",
            [Cause("/modelProfile", f"needs {', '.join(packages)}")],
        )
        self.install = install


class NeverFits(Refusal):
    code = "never-fits"
    title = "This machine can never run it"

    def __init__(self, resource: str, asked: str, total: str, replicas: int = 1) -> None:
        detail = f"It asks for {asked} {resource}; there are {total} in all."
        pointer = "/useGpu" if resource == "GPU" else "/modelProfile" if replicas == 1 else "/replicas"
        super().__init__(detail, [Cause(pointer, detail)])
        self.resource = resource


class BelowFacts(Refusal):
    """Limit and peak are in bytes; the peak is what the model's server needed when the model was registered."""

    code = "limit-below-facts"
    title = "The model needs more than its server would get"

    def __init__(self, profile: str, limit: int, peak: int) -> None:
        detail = (
            f"The profile {profile!r} gives a server {_mebibytes(limit)} of memory; this model's took "
            f"{_mebibytes(peak)} when it was measured at its registration. Raise serving.memory of the profile."
        )
        super().__init__(detail, [Cause("/modelProfile", detail)])
        self.limit = limit
        self.peak = peak


class JobNotFound(Refusal):
    code = "job-not-found"
    title = "There is no such training job"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no training job {task_id!r}.")
        self.task_id = task_id


class DeploymentNotFound(Refusal):
    code = "deployment-not-found"
    title = "There is no such deployment"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no deployment {task_id!r}.")
        self.task_id = task_id


class LogNotFound(Refusal):
    code = "log-not-found"
    title = "There is no log yet"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} has not started yet, so there is no log.")
        self.name = name


class TaskExists(Refusal):
    """The task id is taken by another body; `causes` name what differs."""

    code = "task-exists"
    title = "This taskId is taken by a different request"

    def __init__(self, task_id: str, differences: Sequence[Cause]) -> None:
        fields = ", ".join(cause.pointer.lstrip("/") for cause in differences)
        super().__init__(
            f"Task {task_id!r} exists with another body (different: {fields}). Choose another taskId.", differences
        )
        self.task_id = task_id


class ModelIdTaken(Refusal):
    code = "model-id-taken"
    title = "This modelId is in use"

    def __init__(self, model_id: str, task_id: str) -> None:
        detail = f"modelId {model_id!r} is used by deployment {task_id!r}. Delete that one, or choose another modelId."
        super().__init__(detail, [Cause("/modelId", detail)])


class BeingDeleted(Refusal):
    code = "being-deleted"
    title = "It is being deleted"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"Deployment {task_id!r} is being deleted. Wait until GET answers 404, then try again.")
        self.task_id = task_id


class DeploymentNotReady(Refusal):
    """The deployment cannot answer; `retry_after` is in seconds, `may_recover` whether time alone may help."""

    code = "deployment-not-ready"
    title = "The deployment is not ready"

    def __init__(self, task_id: str, reason: str, message: str, *, retry_after: int, may_recover: bool = True) -> None:
        super().__init__(f"Deployment {task_id!r} is not ready ({reason}): {message}")
        self.task_id = task_id
        self.reason = reason
        self.retry_after = retry_after
        self.may_recover = may_recover


class StoreUnavailable(Outage):
    code = "store-unavailable"
    public = "The platform's database does not answer at the moment. Try again shortly."


class TrackingUnavailable(Outage):
    code = "tracking-unavailable"
    public = "MLflow does not answer at the moment. Try again shortly."


class PortTaken(Outage):
    """The platform's own MLflow cannot start; whoever runs the platform must act, and is told how."""

    code = "port-taken"

    def __init__(self, port: int) -> None:
        self.public = (
            f"Port {port} is taken by another program, so the platform's MLflow cannot start. "
            "Set MLOPS_TRACKING__PORT to a free port."
        )
        super().__init__(self.public)


class RuntimeUnavailable(Outage):
    code = "runtime-unavailable"
    public = "The place where jobs and servers run does not answer at the moment. Try again shortly."


class ArchiveUnavailable(Outage):
    code = "archive-unavailable"
    public = "The place where logs are kept does not answer at the moment. Try again shortly."


class ConfigurationError(Exception):
    """The platform cannot start as it is configured; the text says where and what to change."""


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB ({size} bytes)"
