"""Manifests: specs written in the cluster's dialect, purely; one module a kind of object."""

from app.runtimes.kubernetes.manifests.deployments import deployment, rolling, rollout, scale
from app.runtimes.kubernetes.manifests.jobs import job
from app.runtimes.kubernetes.manifests.names import (
    CONTAINER,
    DIGEST,
    GPU,
    HEALTH_PATH,
    INSTANCE,
    MANAGED,
    MANAGER,
    PORT,
    QUEUE,
    RUN,
    RUN_DEADLINE,
    RUN_ID,
    START_DEADLINE,
    STOP,
    TASK_ID,
    UID,
    VERSION,
    Manifest,
)
from app.runtimes.kubernetes.manifests.services import service

__all__ = [
    "CONTAINER",
    "DIGEST",
    "GPU",
    "HEALTH_PATH",
    "INSTANCE",
    "MANAGED",
    "MANAGER",
    "PORT",
    "QUEUE",
    "RUN",
    "RUN_DEADLINE",
    "RUN_ID",
    "START_DEADLINE",
    "STOP",
    "TASK_ID",
    "UID",
    "VERSION",
    "Manifest",
    "deployment",
    "job",
    "rolling",
    "rollout",
    "scale",
    "service",
]
