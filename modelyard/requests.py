"""Requests: what `train` and `deploy` can be asked for, and their bodies as the API spells them."""

# No `from __future__ import annotations` here: it would hide `Required` from __required_keys__.
from collections.abc import Mapping
from typing import Any, Required, TypedDict

from modelyard.names import new_task_id
from modelyard.records import camel_case


class TrainingRequest(TypedDict, total=False):
    """`dataset_path` is `s3://`, `http(s)://` or a path that the gateway's machine can read.

    `initial_model_file_path` (a path, `s3://`, `runs:/`, `models:/`) warm-starts. The experiment and the registered
    model are named after the profile unless they are named here. `hyperparameters` are spelled as the profile does.
    """

    model_profile: Required[str]
    dataset_path: Required[str]
    experiment_name: str
    custom_model_name: str
    task_id: str | None
    initial_model_file_path: str | None
    trainer_image: str | None
    use_gpu: bool
    queue: str | None
    hyperparameters: Mapping[str, Any]


class DeploymentRequest(TypedDict, total=False):
    """The model is that of `mlflow_run_id`, or `model_name` in the registry with `alias` or `version`.

    `model_id` names the served model, unique among deployments, and is the task id unless it is given. `replicas` is a
    fixed number; with `min_replicas` or `max_replicas` instead it follows the load, with about `target_concurrency`
    predictions in flight each, and with `min_replicas` 0 it sleeps after `idle_seconds` without one.
    """

    model_profile: Required[str]
    mlflow_run_id: str | None
    model_name: str | None
    alias: str | None
    version: str | None
    model_id: str | None
    task_id: str | None
    use_gpu: bool
    replicas: int | None
    min_replicas: int | None
    max_replicas: int | None
    target_concurrency: int | None
    idle_seconds: int | None


class DeploymentChange(TypedDict, total=False):
    """Another number of replicas or other bounds of it, another model, or both.

    Of a registered model `alias` or `version` is enough; bounds that are left out stay as they are.
    """

    replicas: int | None
    min_replicas: int | None
    max_replicas: int | None
    target_concurrency: int | None
    idle_seconds: int | None
    mlflow_run_id: str | None
    model_name: str | None
    alias: str | None
    version: str | None


def training_body(request: TrainingRequest) -> dict[str, Any]:
    """The body of POST /train/jobs, with a task id: sending it twice is safe."""
    profile = _checked(request, TrainingRequest, "train")["model_profile"]
    defaults = {
        "task_id": new_task_id("train", profile),
        "experiment_name": profile,
        "custom_model_name": profile,
    }
    return _body(defaults, request)


def deployment_body(request: DeploymentRequest) -> dict[str, Any]:
    """The body of POST /inference/deployments, with a task id: sending it twice is safe."""
    profile = _checked(request, DeploymentRequest, "deploy")["model_profile"]
    task_id = request.get("task_id") or new_task_id("deploy", profile)
    return _body({"task_id": task_id, "model_id": task_id}, request)


def change_body(change: DeploymentChange) -> dict[str, Any]:
    """The body of PATCH /inference/deployments/{taskId}: sending it twice is safe."""
    return _body({}, _checked(change, DeploymentChange, "update"))


def _body(defaults: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in request.items() if value is not None}
    return {camel_case(name): value for name, value in {**defaults, **given}.items()}


def _checked(request: Mapping[str, Any], form: Any, verb: str) -> Mapping[str, Any]:
    """`request`, if its names are those of `form`: a misspelt argument fails as it does in any Python function."""
    if unknown := sorted(set(request) - set(form.__annotations__)):
        raise TypeError(f"{verb}() got an unexpected keyword argument {unknown[0]!r}")
    if missing := sorted(name for name in form.__required_keys__ if name not in request):
        raise TypeError(f"{verb}() missing a required keyword argument: {missing[0]!r}")
    return request
