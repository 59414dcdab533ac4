"""Manifests: specs written in the cluster's dialect, purely."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from app.core.specs import JobSpec, Placeholders, Program, Resources, ServerSpec
from app.runtimes.kubernetes.settings import KubernetesSettings

Manifest = dict[str, Any]

MANAGER = "modelyard"
MANAGED = {"app.kubernetes.io/managed-by": MANAGER}
INSTANCE = "app.kubernetes.io/instance"
TASK_ID, UID, RUN = "modelyard/task-id", "modelyard/uid", "modelyard/run"
DIGEST, START_DEADLINE = "modelyard/spec-digest", "modelyard/start-deadline-seconds"
HEALTH_PATH, STOP = "modelyard/health-path", "modelyard/stop"
CONTAINER, PORT, GPU = "main", 8080, "nvidia.com/gpu"

_WORK, _CACHE, _TMP = "/modelyard/work", "/modelyard/cache", "/tmp"  # noqa: S108 - a volume of the pod's own
_PLACES = {
    Placeholders.WORK_DIR: _WORK,
    Placeholders.TERMINATION_LOG: "/dev/termination-log",
    Placeholders.LISTEN: f"0.0.0.0:{PORT}",
    Placeholders.MODEL_CACHE: _CACHE,
    Placeholders.ADDRESS_FILE: f"{_TMP}/address",
}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_IMAGE_FROM_REQUEST = "modelyard/image-from-request"


def job(spec: JobSpec, settings: KubernetesSettings, run: int = 1) -> Manifest:
    """A batch/v1 Job that runs once. `run` counts the times that the job was asked to run."""
    pod = _pod(spec, settings) | {"restartPolicy": "Never", "terminationGracePeriodSeconds": settings.job_grace}
    pod["volumes"] = [{"name": "work", **_work_volume(settings)}, *_volumes("tmp")]
    mounts = [_mount("work", _WORK), _mount("tmp", _TMP)]
    if settings.work_claim:
        mounts[0]["subPath"] = f"jobs/{spec.uid}"
    pod["containers"] = [_container(spec, settings) | {"volumeMounts": mounts}]
    template = {"metadata": _metadata(spec, "trainer", {RUN: str(run)}), "spec": pod}
    deadline = f"{spec.start_deadline.total_seconds():g}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            **_metadata(spec, "trainer", {RUN: str(run), START_DEADLINE: deadline, DIGEST: _digest(template)}),
        },
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "template": template},
    }


def deployment(spec: ServerSpec, settings: KubernetesSettings) -> Manifest:
    """An apps/v1 Deployment whose pods are reached by their IP."""
    grace = settings.drain + settings.server_grace
    pod = _pod(spec, settings) | {"restartPolicy": "Always", "terminationGracePeriodSeconds": grace}
    pod["volumes"] = _volumes("work", "cache", "tmp")
    mounts = [_mount("work", _WORK), _mount("cache", _CACHE), _mount("tmp", _TMP)]
    serving = {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(settings.drain)]}}},
        "volumeMounts": mounts,
        **_probes(spec),
    }
    pod["containers"] = [_container(spec, settings) | serving]
    notes = {HEALTH_PATH: spec.health_path, DIGEST: spec.digest}
    template = {"metadata": _metadata(spec, "server", notes), "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            **_metadata(spec, "server", {DIGEST: spec.digest}),
        },
        "spec": {
            "replicas": spec.replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": max(60, math.ceil(spec.start_deadline.total_seconds())),
            "selector": {"matchLabels": {INSTANCE: spec.name, **MANAGED}},
            "strategy": rolling(in_place=spec.resources.gpus > 0),
            "template": template,
        },
    }


def scale(spec: ServerSpec, uid: str) -> Manifest:
    """What server-side apply needs to change the replica count; the object's `uid` lets it touch no other life."""
    metadata = {"name": spec.name, "uid": uid}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": spec.replicas}}


def rolling(*, in_place: bool) -> Manifest:
    """A new pod first; but one that waits for the GPU of an old one would wait for ever, so there the old one goes."""
    pods = {"maxSurge": 0, "maxUnavailable": 1} if in_place else {"maxSurge": 1, "maxUnavailable": 0}
    return {"type": "RollingUpdate", "rollingUpdate": pods}


def rollout(spec: ServerSpec, settings: KubernetesSettings, uid: str, *, in_place: bool) -> Manifest:
    """A strategic merge patch that makes the Deployment with this `uid` roll out `spec`.

    The template is replaced whole. Server-side apply would leave behind what the new one lacks, such as a variable:
    the fields of an object that was created count as owned by the creation too.
    """
    wanted = deployment(spec, settings)
    template = {"$patch": "replace", **wanted["spec"].pop("template")}
    del wanted["spec"]["selector"]  # it cannot change
    metadata = {"uid": uid, "annotations": {DIGEST: spec.digest}}
    return {
        "metadata": metadata,
        "spec": {**wanted["spec"], "strategy": rolling(in_place=in_place), "template": template},
    }


def _metadata(spec: JobSpec | ServerSpec, component: str, more: Mapping[str, str]) -> Manifest:
    fitting = {key: value for key, value in spec.labels.items() if _LABEL_VALUE.fullmatch(value)}
    labels = {
        "app.kubernetes.io/name": f"{MANAGER}-{component}",
        INSTANCE: spec.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": MANAGER,
        **MANAGED,
        **fitting,
    }
    rest = {key: value for key, value in spec.labels.items() if key not in fitting}
    return {"labels": labels, "annotations": {TASK_ID: spec.task_id, UID: spec.uid, **rest, **more}}


def _pod(spec: JobSpec | ServerSpec, settings: KubernetesSettings) -> Manifest:
    """What every pod has: nothing of the cluster's, and no more rights than a program needs."""
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.user,
            "runAsGroup": settings.user,
            "fsGroup": settings.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _container(spec: JobSpec | ServerSpec, settings: KubernetesSettings) -> Manifest:
    limits = _quantities(spec.resources)
    return {
        "name": CONTAINER,
        "image": _image(spec, settings),
        "imagePullPolicy": settings.pull_policy,
        "command": ["python", "-m", spec.program.module],
        "env": _environment(spec.program, settings),
        "resources": {"requests": limits, "limits": limits},
        "terminationMessagePath": _PLACES[Placeholders.TERMINATION_LOG],
        "terminationMessagePolicy": "File",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _image(spec: JobSpec | ServerSpec, settings: KubernetesSettings) -> str:
    if not settings.registry or spec.labels.get(_IMAGE_FROM_REQUEST) == "true":
        return spec.program.image
    return f"{settings.registry}/{spec.program.image}"


def _environment(program: Program, settings: KubernetesSettings) -> list[Manifest]:
    plain = {"HOME": _TMP, "PYTHONUNBUFFERED": "1", **program.environment}
    given = [{"name": name, "value": _placed(value)} for name, value in sorted(plain.items())]
    return given + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": settings.secret, "key": name, "optional": True}}}
        for name in program.secrets
    ]


def _placed(value: str) -> str:
    """`value` with its placeholders filled in; the cluster shall expand nothing else in it."""
    value = value.replace("$(", "$$(")
    for placeholder, place in _PLACES.items():
        value = value.replace(placeholder, place)
    return value


def _quantities(resources: Resources) -> dict[str, str]:
    found = {"cpu": f"{resources.cpu_millis}m", "memory": str(resources.memory_bytes)}
    return found | ({GPU: str(resources.gpus)} if resources.gpus else {})


def _probes(spec: ServerSpec) -> Manifest:
    """Live from its first answer; alive is asked rarely, ready every second."""
    seconds = max(30, math.ceil(spec.start_deadline.total_seconds()))
    live: Manifest = {"httpGet": {"path": "/health/live", "port": PORT}, "timeoutSeconds": 5}
    ready: Manifest = {"httpGet": {"path": spec.health_path, "port": PORT}, "timeoutSeconds": 5}
    return {
        "startupProbe": live | {"periodSeconds": 1, "failureThreshold": seconds},
        "readinessProbe": ready | {"periodSeconds": 1, "failureThreshold": 3},
        "livenessProbe": live | {"periodSeconds": 10, "failureThreshold": 6},
    }


def _work_volume(settings: KubernetesSettings) -> Manifest:
    if settings.work_claim:
        return {"persistentVolumeClaim": {"claimName": settings.work_claim}}
    return {"emptyDir": {}}


def _volumes(*names: str) -> list[Manifest]:
    return [{"name": name, "emptyDir": {}} for name in names]


def _mount(name: str, path: str) -> Manifest:
    return {"name": name, "mountPath": path}


def _digest(template: Manifest) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()
