"""Deployments."""

from __future__ import annotations

from dataclasses import dataclass

from app.runtimes.kubernetes.manifests import DIGEST, GPU, UID, Manifest
from app.runtimes.kubernetes.records.fields import head, is_deleting, notes_of


@dataclass(frozen=True, slots=True)
class ServerRecord:
    name: str
    version: int
    object_uid: str
    uid: str
    wanted: int
    deleting: bool
    digest: str  # of the spec that its template was made from
    gpus: int
    in_place: bool  # how it rolls out: an old pod goes before a new one comes
    trouble: str  # why pods cannot be made: a quota, say


def server_record(found: Manifest, old: ServerRecord | None) -> ServerRecord:
    conditions = found.get("status", {}).get("conditions") or []
    template = found["spec"]["template"]
    failures = (one for one in conditions if one["type"] == "ReplicaFailure" and one["status"] == "True")
    return ServerRecord(
        *head(found),
        uid=notes_of(found).get(UID, ""),
        wanted=found["spec"].get("replicas", 1),
        deleting=is_deleting(found),
        digest=notes_of(template).get(DIGEST, ""),
        gpus=int(template["spec"]["containers"][0].get("resources", {}).get("limits", {}).get(GPU, 0)),
        in_place=(found["spec"].get("strategy", {}).get("rollingUpdate") or {}).get("maxSurge") == 0,
        trouble=next((one.get("message", "") for one in failures), ""),
    )
