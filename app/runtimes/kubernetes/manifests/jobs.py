"""Training jobs as batch/v1 Jobs: purely."""

from __future__ import annotations

from app.core.specs import JobSpec
from app.runtimes.kubernetes.manifests.names import DIGEST, RUN, START_DEADLINE, Manifest
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


def job(spec: JobSpec, settings: KubernetesSettings, run: int = 1) -> Manifest:
    """A batch/v1 Job that runs once. `run` counts the times that the job was asked to run."""
    pod = pod_spec(spec, settings) | {"restartPolicy": "Never", "terminationGracePeriodSeconds": settings.job_grace}
    pod["volumes"] = [{"name": "work", **_work_volume(settings)}, *empty_volumes("tmp")]
    mounts = [mount("work", WORK), mount("tmp", TMP)]
    if settings.work_claim:
        mounts[0]["subPath"] = f"jobs/{spec.uid}"
    pod["containers"] = [container(spec, settings) | {"volumeMounts": mounts}]
    template = {"metadata": metadata(spec, "trainer", {RUN: str(run)}), "spec": pod}
    deadline = f"{spec.start_deadline.total_seconds():g}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.name,
            "namespace": settings.namespace,
            **metadata(spec, "trainer", {RUN: str(run), START_DEADLINE: deadline, DIGEST: digest(template)}),
        },
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "template": template},
    }


def _work_volume(settings: KubernetesSettings) -> Manifest:
    if settings.work_claim:
        return {"persistentVolumeClaim": {"claimName": settings.work_claim}}
    return {"emptyDir": {}}
