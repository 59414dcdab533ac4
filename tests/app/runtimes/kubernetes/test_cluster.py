"""What is known of the cluster follows each change, and nothing is worked out anew that has not changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.runtimes.base import ProcessState
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.manifests import INSTANCE, RUN, UID
from app.runtimes.kubernetes.reach import ByPod
from tests.app.runtimes.kubernetes.rude_cluster import RudeCluster, served

AT = "2026-11-01T10:00:00Z"
QUOTA = 'Error creating: pods "j-x" is forbidden: exceeded quota: q'


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """One that is told of changes, as if by what a write brought back."""
    async with served(RudeCluster()) as client:
        yield Cluster(client, 4, ByPod(), lambda: None)


def head(name: str, version: int, task: str = "") -> dict[str, Any]:
    notes = {"annotations": {UID: "u", RUN: "1"}, "labels": {INSTANCE: task or name}}
    return {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "creationTimestamp": AT, **notes}


def job(name: str, version: int) -> dict[str, Any]:
    return {"metadata": head(name, version), "spec": {"parallelism": 1}}


def pod(
    name: str, task: str, version: int, *, phase: str = "Pending", gpus: int = 1, unschedulable: str = ""
) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)}
    spec = {"containers": [{"resources": {"limits": limits}}], "nodeName": "" if unschedulable else "n"}
    scheduled = {"type": "PodScheduled", "status": "False", "message": unschedulable}
    status = {"phase": phase, "conditions": [scheduled] if unschedulable else []}
    return {"metadata": head(name, version, task), "spec": spec, "status": status}


def complaint(task: str, version: int) -> dict[str, Any]:
    about = {"kind": "Job", "name": task, "uid": f"uid-{task}"}
    return {"metadata": head(f"{task}.1", version), "involvedObject": about, "message": QUOTA}


async def test_gpus_in_use_follow_every_pod(cluster: Cluster) -> None:
    assert (cluster.room.total, cluster.room.used) == (4, 0)
    cluster.pods.put(pod("a-1", "a", 1, gpus=2))
    cluster.pods.put(pod("b-1", "b", 2))
    assert (cluster.room.total, cluster.room.used) == (4, 3)
    cluster.pods.put(pod("a-1", "a", 3, gpus=2, phase="Succeeded"))
    assert (cluster.room.total, cluster.room.used) == (4, 1)


async def test_pods_are_found_by_their_task_and_go_with_it(cluster: Cluster) -> None:
    for version, (name, task) in enumerate([("a-2", "a"), ("a-1", "a"), ("b-1", "b")], 1):
        cluster.pods.put(pod(name, task, version))
    assert [one.name for one in cluster.pods_of("a")] == ["a-1", "a-2"]
    cluster.pods.put(pod("a-1", "b", 9))  # somebody moves it to another task
    assert [one.name for one in cluster.pods_of("a")] == ["a-2"]
    assert [one.name for one in cluster.pods_of("b")] == ["a-1", "b-1"]


async def test_a_job_is_looked_at_again_when_one_of_its_records_changed(cluster: Cluster) -> None:
    cluster.jobs.put(job("a", 1))
    cluster.jobs.put(job("b", 2))
    first, other = cluster.job("a"), cluster.job("b")
    assert first is not None and first.reason == "Accepted"
    assert cluster.job("a") is first
    cluster.events.put(complaint("a", 3))
    complained = cluster.job("a")
    assert complained is not None and complained.reason == "QuotaExceeded"
    cluster.pods.put(pod("a-1", "a", 4))
    starting = cluster.job("a")
    assert starting is not None and starting.state is ProcessState.STARTING
    assert cluster.job("b") is other


async def test_a_job_without_a_place_is_looked_at_again_when_there_is_more_or_less_room(cluster: Cluster) -> None:
    cluster.jobs.put(job("a", 1))
    cluster.pods.put(pod("a-1", "a", 2, unschedulable="Insufficient nvidia.com/gpu."))
    cluster.pods.put(pod("b-1", "b", 3, gpus=4))
    waiting = cluster.job("a")
    assert waiting is not None and "0 of 4 are free" in waiting.message
    assert cluster.job("a") is waiting
    cluster.pods.put(pod("b-1", "b", 4, gpus=4, phase="Succeeded"))
    waiting = cluster.job("a")
    assert waiting is not None and "4 of 4 are free" in waiting.message


async def test_what_was_touched_is_told_once(cluster: Cluster) -> None:
    cluster.jobs.put(job("a", 1))
    cluster.jobs.put(job("b", 2))
    assert {one.name for one in cluster.touched()} == {"a", "b"}
    cluster.pods.put(pod("b-1", "b", 3))
    assert [one.name for one in cluster.touched()] == ["b"]
    assert cluster.touched() == []
