"""What every pod of ours is made of, whatever object makes it: purely."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from app import __version__
from app.core.specs import JobSpec, Placeholders, Placement, Program, Resources, ServerSpec
from app.runtimes.kubernetes.manifests.names import (
    CONTAINER,
    GPU,
    INSTANCE,
    MANAGED,
    MANAGER,
    PORT,
    TASK_ID,
    UID,
    VERSION,
    Manifest,
)
from app.runtimes.kubernetes.settings import KubernetesSettings

WORK, CACHE, TMP = "/modelyard/work", "/modelyard/cache", "/tmp"  # noqa: S108 - a volume of the pod's own
CACHE_SLACK_BYTES = 64 << 20  # for the last, unfilled block of each file
_PLACES = {
    Placeholders.WORK_DIR: WORK,
    Placeholders.TERMINATION_LOG: "/dev/termination-log",
    Placeholders.LISTEN: f"0.0.0.0:{PORT}",
    Placeholders.MODEL_CACHE: CACHE,
    Placeholders.ADDRESS_FILE: f"{TMP}/address",
}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
IMAGE_FROM_REQUEST = "modelyard/image-from-request"


def metadata(spec: JobSpec | ServerSpec, component: str, more: Mapping[str, str]) -> Manifest:
    fitting = {key: value for key, value in spec.labels.items() if _LABEL_VALUE.fullmatch(value)}
    labels = {
        "app.kubernetes.io/name": f"{MANAGER}-{component}",
        INSTANCE: spec.name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": MANAGER,
        VERSION: __version__,
        **MANAGED,
        **fitting,
    }
    rest = {key: value for key, value in spec.labels.items() if key not in fitting}
    return {"labels": labels, "annotations": {TASK_ID: spec.task_id, UID: spec.uid, **rest, **more}}


def pod_spec(spec: JobSpec | ServerSpec, settings: KubernetesSettings) -> Manifest:
    """What every pod has: nothing of the cluster's, and no more rights than a program needs."""
    return {
        **_placement(spec.placement),
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


def _placement(placement: Placement) -> Manifest:
    tolerations = [
        {"key": one.key, "operator": one.operator, "value": one.value, "effect": one.effect}
        | ({} if one.seconds is None else {"tolerationSeconds": one.seconds})
        for one in placement.tolerations
    ]
    fields = {
        "nodeSelector": dict(placement.node_selector),
        "tolerations": [{name: value for name, value in one.items() if value != ""} for one in tolerations],
        "runtimeClassName": placement.runtime_class,
    }
    return {name: value for name, value in fields.items() if value}


def container(spec: JobSpec | ServerSpec, settings: KubernetesSettings) -> Manifest:
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
    if not settings.registry or spec.labels.get(IMAGE_FROM_REQUEST) == "true":
        return spec.program.image
    return f"{settings.registry}/{spec.program.image}"


def _environment(program: Program, settings: KubernetesSettings) -> list[Manifest]:
    plain = {"HOME": TMP, "PYTHONUNBUFFERED": "1", **program.environment}
    given = [{"name": name, "value": _placed(value)} for name, value in sorted(plain.items())]
    return given + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": settings.secret, "key": name, "optional": True}}}
        for name in program.secrets
    ]


def _placed(value: str) -> str:
    """`value` with its placeholders filled in; the cluster shall expand nothing else in it.

    Each `$` is doubled, as `$$` means `$` to a cluster wherever it stands: of `$$$(HOME)` it would expand HOME.
    """
    value = value.replace("$", "$$")
    for placeholder, place in _PLACES.items():
        value = value.replace(placeholder, place)
    return value


def _quantities(resources: Resources) -> dict[str, str]:
    found = {"cpu": f"{resources.cpu_millis}m", "memory": str(resources.memory_bytes)}
    return found | ({GPU: str(resources.gpus)} if resources.gpus else {})


def empty_volumes(*names: str) -> list[Manifest]:
    return [{"name": name, "emptyDir": {}} for name in names]


def cache_volume(settings: KubernetesSettings) -> Manifest:
    """Where servers keep models. A node's folder must be there: Kubernetes would make one that only root may write."""
    if settings.model_cache.startswith("/"):
        source: Manifest = {"hostPath": {"path": settings.model_cache, "type": "Directory"}}
    elif settings.model_cache:
        source = {"persistentVolumeClaim": {"claimName": settings.model_cache}}
    else:  # servers keep to their bound; a pod that went beyond the limit would be evicted without a good word
        source = {"emptyDir": {"sizeLimit": str(settings.model_cache_bytes + CACHE_SLACK_BYTES)}}
    return {"name": "cache", **source}


def mount(name: str, path: str) -> Manifest:
    return {"name": name, "mountPath": path}


def digest(template: Manifest) -> str:
    """Of what runs: a newer gateway that would run the same has the same digest."""
    labels = {key: value for key, value in template["metadata"]["labels"].items() if key != VERSION}
    kept = template | {"metadata": template["metadata"] | {"labels": labels}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
