"""Model servers as apps/v1 Deployments: purely."""

from __future__ import annotations

import math

from app.core.specs import ServerSpec
from app.runtimes.kubernetes.manifests.names import DIGEST, HEALTH_PATH, INSTANCE, MANAGED, PORT, Manifest
from app.runtimes.kubernetes.manifests.pods import (
    CACHE,
    TMP,
    WORK,
    cache_volume,
    container,
    empty_volumes,
    metadata,
    mount,
    pod_spec,
)
from app.runtimes.kubernetes.settings import KubernetesSettings


def deployment(spec: ServerSpec, settings: KubernetesSettings) -> Manifest:
    """An apps/v1 Deployment whose pods are reached by their IP."""
    grace = settings.drain + settings.server_grace
    pod = pod_spec(spec, settings) | {"restartPolicy": "Always", "terminationGracePeriodSeconds": grace}
    pod["volumes"] = [*empty_volumes("work", "tmp"), cache_volume(settings)]
    if settings.model_cache:  # of a shared cache not every file shall be given its group anew at each start
        pod["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"
    mounts = [mount("work", WORK), mount("cache", CACHE), mount("tmp", TMP)]
    serving = {
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(settings.drain)]}}},
        "volumeMounts": mounts,
        **_probes(spec),
    }
    pod["containers"] = [container(spec, settings) | serving]
    notes = {HEALTH_PATH: spec.health_path, DIGEST: spec.digest}
    template = {"metadata": metadata(spec, "server", notes), "spec": pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            **metadata(spec, "server", {DIGEST: spec.digest}),
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
    one = {"name": spec.name, "uid": uid}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": one, "spec": {"replicas": spec.replicas}}


def rollout(spec: ServerSpec, settings: KubernetesSettings, uid: str, *, in_place: bool) -> Manifest:
    """A strategic merge patch that makes the Deployment with this `uid` roll out `spec`.

    The template is replaced whole. Server-side apply would leave behind what the new one lacks, such as a variable:
    the fields of an object that was created count as owned by the creation too.
    """
    wanted = deployment(spec, settings)["spec"]
    del wanted["selector"]  # it cannot change
    template = {"$patch": "replace", **wanted["template"]}
    return {
        "metadata": {"uid": uid, "annotations": {DIGEST: spec.digest}},
        "spec": {**wanted, "strategy": rolling(in_place=in_place), "template": template},
    }


def rolling(*, in_place: bool) -> Manifest:
    """A new pod first; but one that waits for the GPU of an old one would wait for ever, so there the old one goes."""
    pods = {"maxSurge": 0, "maxUnavailable": 1} if in_place else {"maxSurge": 1, "maxUnavailable": 0}
    return {"type": "RollingUpdate", "rollingUpdate": pods}


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
