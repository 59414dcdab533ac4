"""Training jobs as batch/v1 Jobs: purely.

Why a Job of ours is made so that the cluster never starts its program twice: whether a run goes on is decided by the
controller, which knows of checkpoints and of what was asked for. So `backoffLimit` is 0; a pod that the cluster takes
away fails its Job instead of being replaced (where `podFailurePolicy` is known, that also ends the race between a pod
on its way out and its replacement); and a silent node is waited for by us, not by an eviction that old clusters follow
with a second pod.

Nothing owns a Job: if the gateway's own Deployment did, to remove the gateway would be to remove every training. A Job
owns its pods, those of earlier runs too (see tending.py).
"""

from __future__ import annotations

from app.core.specs import JobSpec
from app.runtimes.kubernetes.manifests.names import DIGEST, QUEUE, RUN, RUN_DEADLINE, START_DEADLINE, Manifest
from app.runtimes.kubernetes.manifests.pods import (
    TMP,
    WORK,
    container,
    digest,
    empty_volumes,
    metadata,
    mount,
    pod_spec,
)
from app.runtimes.kubernetes.settings import KubernetesSettings

_PATIENT = [
    {"key": f"node.kubernetes.io/{trouble}", "operator": "Exists", "effect": "NoExecute"}
    for trouble in ("not-ready", "unreachable")
]
_NEVER_AGAIN = {"rules": [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}


def job(spec: JobSpec, settings: KubernetesSettings, run: int = 1) -> Manifest:
    """A batch/v1 Job that runs once. `run` counts the times that the job was asked to run."""
    template = _template(spec, settings, run)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": spec.name, "namespace": settings.namespace, **_metadata(spec, run, template)},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 0,
            "podFailurePolicy": _NEVER_AGAIN,
            **({"suspend": True} if spec.queue else {}),
            **({} if settings.job_ttl is None else {"ttlSecondsAfterFinished": settings.job_ttl}),
            "template": template,
        },
    }


def _metadata(spec: JobSpec, run: int, template: Manifest) -> Manifest:
    notes = {RUN: str(run), START_DEADLINE: f"{spec.start_deadline.total_seconds():g}", DIGEST: digest(template)}
    if spec.run_deadline is not None:
        notes[RUN_DEADLINE] = f"{spec.run_deadline.total_seconds():g}"
    found = metadata(spec, "trainer", notes)
    if spec.queue:
        found["labels"][QUEUE] = spec.queue
    return found


def _template(spec: JobSpec, settings: KubernetesSettings, run: int) -> Manifest:
    pod = pod_spec(spec, settings) | {"restartPolicy": "Never", "terminationGracePeriodSeconds": settings.job_grace}
    pod["tolerations"] = [*pod.get("tolerations", []), *_PATIENT]
    pod["volumes"] = [{"name": "work", **_work_volume(settings)}, *empty_volumes("tmp")]
    mounts = [mount("work", WORK), mount("tmp", TMP)]
    if settings.work_claim:
        mounts[0]["subPath"] = f"jobs/{spec.uid}"
    pod["containers"] = [container(spec, settings) | {"volumeMounts": mounts}]
    return {"metadata": metadata(spec, "trainer", {RUN: str(run)}), "spec": pod}


def _work_volume(settings: KubernetesSettings) -> Manifest:
    if settings.work_claim:
        return {"persistentVolumeClaim": {"claimName": settings.work_claim}}
    return {"emptyDir": {}}
