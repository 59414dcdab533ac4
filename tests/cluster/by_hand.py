"""Jobs as a runtime would make them, but for one thing: what a profile cannot ask for, or what somebody else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.core.specs import JobSpec
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.client import Client
from app.runtimes.kubernetes.manifests import Manifest
from app.runtimes.kubernetes.settings import KubernetesSettings

Change = Callable[[Manifest], None]


async def create_job(client: Client, spec: JobSpec, settings: KubernetesSettings, change: Change) -> None:
    """Create the Job of `spec` after `change` was made to the spec of its pod."""
    found = manifests.job(spec, settings)
    change(found["spec"]["template"]["spec"])
    await client.create(client.path("batch/v1", "jobs"), found)


def runs(code: str, **fields: Any) -> Change:
    """Its program is this Python code."""

    def change(pod: Manifest) -> None:
        pod["containers"][0] |= {"command": ["python", "-c", code], **fields}

    return change


def with_secret(name: str, key: str) -> Change:
    """Its program cannot do without this key of a Secret."""

    def change(pod: Manifest) -> None:
        wanted: Mapping[str, Any] = {"secretKeyRef": {"name": name, "key": key}}
        pod["containers"][0]["env"].append({"name": "WANTED", "valueFrom": wanted})

    return change


def with_little_room(code: str) -> Change:
    """Its program is this Python code, and its /tmp holds one MiB."""

    def change(pod: Manifest) -> None:
        runs(code)(pod)
        next(one for one in pod["volumes"] if one["name"] == "tmp")["emptyDir"]["sizeLimit"] = "1Mi"

    return change
