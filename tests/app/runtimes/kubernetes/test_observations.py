"""What the cluster's objects mean, in the words of the port."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.runtimes.base import JobObservation, ProcessState
from app.runtimes.kubernetes import jobs, records, servers
from app.runtimes.kubernetes.manifests import DIGEST, QUEUE, RUN, RUN_DEADLINE, START_DEADLINE, STOP, UID
from app.runtimes.kubernetes.reach import ByPod
from app.runtimes.kubernetes.records import PodRecord, Stop
from app.runtimes.kubernetes.shortage import NodeRoom, Room

AT = "2026-11-01T10:00:00Z"
NOW = datetime(2026, 11, 1, 10, 1, tzinfo=UTC)
STOPPED = Stop("Stopped", "It was stopped.", NOW)
GPUS = Room(2, 2)


def job(*, stop: Stop | None = None, held: bool = False, queue: str = "", **status: Any) -> records.JobRecord:
    notes = {UID: "u", RUN: "1", START_DEADLINE: "120", RUN_DEADLINE: "90"} | ({STOP: stop.text()} if stop else {})
    metadata: dict[str, Any] = {
        "name": "j", "uid": "o", "resourceVersion": "1", "creationTimestamp": AT, "annotations": notes
    }  # fmt: skip
    metadata["labels"] = {QUEUE: queue} if queue else {}
    spec = {"parallelism": 0 if held else 1, "suspend": bool(queue)}
    found = {"metadata": metadata, "spec": spec, "status": status}
    return records.job_record(found, None)


def pod(
    state: dict[str, Any] | None = None, *, gpus: int = 0, node: str = "n", old: PodRecord | None = None, **status: Any
) -> PodRecord:
    metadata = {"name": "p", "uid": "p", "resourceVersion": "1", "creationTimestamp": AT, "annotations": {UID: "u"}}
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    spec: dict[str, Any] = {"containers": [{"resources": {"limits": limits}}], **({"nodeName": node} if node else {})}
    containers = [{"name": "main", "state": state, "restartCount": 0}] if state else []
    found = {"metadata": metadata, "spec": spec, "status": {"containerStatuses": containers, **status}}
    return records.pod_record(found, old)


def waiting(reason: str, message: str = "", old: PodRecord | None = None) -> PodRecord:
    return pod({"waiting": {"reason": reason, "message": message}}, old=old, phase="Pending")


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "message": message, "startedAt": AT, "finishedAt": AT}
    return {"terminated": end}


def seen(
    one: PodRecord | None, *, stop: Stop | None = None, complaint: str = "", now: datetime = NOW, **more: Any
) -> JobObservation:
    found = jobs.observe("j", job(stop=stop, **more), [one] if one else [], complaint, GPUS, now)
    assert found is not None
    return found


NO_GPU = {
    "type": "PodScheduled",
    "status": "False",
    "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
}
QUOTA = 'Error creating: pods "j-x" is forbidden: exceeded quota: q'


@pytest.mark.parametrize(
    ("one", "complaint", "state", "reason", "words"),
    [
        (None, "", ProcessState.WAITING, "Accepted", "just now"),
        (None, QUOTA, ProcessState.WAITING, "QuotaExceeded", "exceeded quota: q"),
        (None, "Error creating: no", ProcessState.WAITING, "PodRefused", "no"),
        (pod(node="", gpus=1, conditions=[NO_GPU]), "", ProcessState.WAITING, "Unschedulable", "1 GPU; 0 of 2"),
        (waiting("ErrImagePull", "i: not found"), "", ProcessState.STARTING, "ImagePullFailed", "i: not found"),
        (waiting("CreateContainerConfigError", 'secret "s" not found'), "", ProcessState.STARTING, "ConfigMissing", ""),
        (waiting("ContainerCreating"), "", ProcessState.STARTING, "Starting", ""),
    ],
)  # fmt: skip
def test_a_job_that_has_not_begun_says_why(
    one: PodRecord | None, complaint: str, state: ProcessState, reason: str, words: str
) -> None:
    found = seen(one, complaint=complaint)
    assert (found.state, found.reason) == (state, reason)
    assert words in found.message


OWN = '{"reason": "DataUnreadable", "message": "The file is empty."}'


@pytest.mark.parametrize(
    ("one", "stop", "reason", "code"),
    [
        (pod(ended(0, "Completed"), phase="Succeeded"), None, "Completed", 0),
        (pod(ended(0, "Completed"), phase="Succeeded"), STOPPED, "Completed", 0),
        (pod(ended(1), phase="Failed"), None, "Crashed", 1),
        (pod(ended(3, message=f"a line\n{OWN}\n"), phase="Failed"), None, "DataUnreadable", 3),
        (pod(ended(3, message='{"reason": "two words", "message": ""}'), phase="Failed"), None, "Crashed", 3),
        (pod(ended(143), phase="Failed", reason="DeadlineExceeded"), STOPPED, "Stopped", 143),
        (pod(ended(137, "OOMKilled"), phase="Failed"), None, "OOMKilled", 137),
        (pod(ended(0, "OOMKilled", OWN), phase="Succeeded"), None, "OOMKilled", 0),
        (pod(phase="Failed", reason="Evicted", message="The node was low on memory."), None, "Evicted", None),
    ],
)
def test_a_job_that_ended_says_how(one: PodRecord, stop: Stop | None, reason: str, code: int | None) -> None:
    found = seen(one, stop=stop)
    assert found.state is ProcessState.EXITED and found.termination is not None
    assert (found.termination.reason, found.termination.exit_code) == (reason, code)
    assert found.termination.message


def test_a_last_word_takes_hold_of_no_terminal() -> None:
    said = json.dumps({"reason": "DataUnreadable", "message": "\x1b[2J\x9b31m red\u202e evil\nline"})
    found = seen(pod(ended(3, message=said), phase="Failed"))
    assert found.message == "[2J 31m red  evil line"


def test_a_pod_that_the_cluster_calls_failed_while_it_still_runs_is_stopping() -> None:
    one = pod({"running": {"startedAt": AT}}, phase="Failed", reason="DeadlineExceeded")
    assert seen(one, stop=STOPPED).state is ProcessState.STOPPING
    late = seen(one, stop=STOPPED, now=NOW + timedelta(seconds=60))
    assert (late.state, late.reason) == (ProcessState.EXITED, "Stopped")


def test_a_job_that_was_stopped_before_it_began_ends_when_no_pod_can_come() -> None:
    assert seen(None, stop=STOPPED).state is ProcessState.STOPPING
    assert seen(None, stop=STOPPED, held=True).termination is not None


def test_a_stopped_job_whose_image_is_not_there_does_not_wait_for_the_node_to_let_go() -> None:
    one = waiting("ErrImagePull", "not found")
    assert seen(one, stop=STOPPED, held=True).state is ProcessState.STOPPING
    assert seen(replace(one, deleting=True), stop=STOPPED, held=True).reason == "Stopped"
    assert seen(replace(waiting("ContainerCreating"), deleting=True), stop=STOPPED).state is ProcessState.STOPPING


def test_a_job_whose_pod_was_removed_is_lost() -> None:
    failed = {"type": "Failed", "status": "True", "message": "Job has reached the specified backoff limit"}
    assert seen(None, conditions=[failed]).reason == "Lost"


def test_a_job_ends_when_its_start_takes_too_long() -> None:
    found = seen(None)
    assert jobs.must_end(job(), [], found, NOW, 60) is None
    late = jobs.must_end(job(), [], found, NOW + timedelta(seconds=61), 60)
    assert late is not None and late.reason == "DeadlineExceeded"


def pulls(message: str, tries: int) -> PodRecord:
    one: PodRecord | None = None
    for _ in range(tries):
        one = waiting("ErrImagePull", message, one)
        one = waiting("ImagePullBackOff", 'Back-off pulling image "i"', one)
    assert one is not None
    return one


@pytest.mark.parametrize(
    ("message", "tries", "hopeless"),
    [
        ("i: not found", 2, False),
        ("i: not found", 3, True),
        ("401 Unauthorized", 3, True),
        ("dial tcp: i/o timeout", 9, False),
    ],
)
def test_an_image_that_is_not_there_ends_the_job_at_the_third_try(message: str, tries: int, hopeless: bool) -> None:
    one = pulls(message, tries)
    found = seen(one)
    assert message in found.message and f"{tries} tries" in found.message
    end = jobs.must_end(job(), [one], found, NOW, 60)
    assert (end is not None and end.reason == "ImagePullFailed") is hopeless


def test_a_job_in_a_queue_waits_there_as_long_as_it_takes() -> None:
    waiting_there = job(queue="team-a")
    found = seen(None, queue="team-a")
    assert (found.state, found.reason) == (ProcessState.WAITING, "Queued") and "team-a" in found.message
    assert jobs.must_end(waiting_there, [], found, NOW + timedelta(days=9), 60) is None
    assert seen(None, queue="team-a", stop=STOPPED, held=True).reason == "Stopped"


def test_the_start_deadline_counts_from_the_admission() -> None:
    admitted = job(startTime="2026-11-01T12:00:00Z")
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert jobs.must_end(admitted, [], seen(None), noon + timedelta(seconds=119), 60) is None
    assert jobs.must_end(admitted, [], seen(None), noon + timedelta(seconds=121), 60) is not None


RUNNING = {"running": {"startedAt": AT}}


def test_a_job_that_runs_too_long_ends_with_our_words_and_not_as_one_to_run_again() -> None:
    one = pod(RUNNING, phase="Running")
    assert jobs.must_end(job(), [one], seen(one), NOW, 60) is None
    late = jobs.must_end(job(), [one], seen(one), NOW + timedelta(seconds=31), 60)
    assert late is not None and late.reason == "DeadlineExceeded" and "90 s" in late.message
    interrupted = '{"reason": "Interrupted", "message": "A checkpoint was left."}'
    assert seen(pod(ended(1, message=interrupted), phase="Failed"), stop=late).reason == "DeadlineExceeded"
    assert seen(pod(ended(0), phase="Succeeded"), stop=late).reason == "Completed"


SILENT = [
    {"type": "Ready", "status": "False", "lastTransitionTime": AT},
    {"type": "ContainersReady", "status": "True", "lastTransitionTime": AT},
]


def test_a_job_on_a_silent_node_is_believed_to_run_until_patience_ends() -> None:
    one = pod(RUNNING, node="node-7", phase="Running", conditions=SILENT)
    found = seen(one)
    assert found.state is ProcessState.RUNNING and "node-7" in found.notes[0]
    assert jobs.must_end(job(), [one], found, NOW, 60) is None
    lost = jobs.must_end(job(), [one], found, NOW + timedelta(seconds=1), 60)
    assert lost is not None and lost.reason == "NodeLost" and "node-7" in lost.message
    end = seen(one, stop=lost).termination
    assert end is not None and (end.reason, end.exit_code) == ("NodeLost", None)


def test_a_job_that_was_told_to_stop_on_a_node_that_is_lost_ends_too() -> None:
    one = pod(RUNNING, phase="Running", conditions=SILENT)
    stopping = seen(one, stop=STOPPED)
    assert stopping.state is ProcessState.STOPPING
    lost = jobs.must_end(job(stop=STOPPED), [one], stopping, NOW + timedelta(seconds=1), 60)
    assert lost is not None and jobs.must_end(job(stop=lost), [one], stopping, NOW + timedelta(hours=1), 60) is None


def test_a_node_that_comes_back_stops_what_was_lost_and_what_it_says_then_changes_no_reason() -> None:
    lost = Stop("NodeLost", "Its node n has not been heard of.", NOW)
    back = replace(pod(RUNNING, phase="Running"), bounded=True)
    assert seen(back, stop=lost).state is ProcessState.STOPPING
    words = '{"reason": "Interrupted", "message": "A checkpoint was left."}'
    assert seen(pod(ended(1, message=words), phase="Failed", reason="DeadlineExceeded"), stop=lost).reason == "NodeLost"


def unfit(said: str, *, cpu: str = "64", memory: str = "64Gi", selector: dict[str, str] | None = None) -> PodRecord:
    metadata = {"name": "p", "uid": "p", "resourceVersion": "1", "creationTimestamp": AT, "annotations": {UID: "u"}}
    limits = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": "1"}
    spec = {"containers": [{"resources": {"limits": limits}}], "nodeSelector": selector or {}}
    scheduled = {"type": "PodScheduled", "status": "False", "message": f"0/2 nodes are available: {said}"}
    return records.pod_record({"metadata": metadata, "spec": spec, "status": {"conditions": [scheduled]}}, None)


EMPTY = Room(2, 0, (NodeRoom(64000, 64000, 1 << 40, 1 << 40),))
NODES = Room(2, 2, (NodeRoom(500, 4000, 3 << 30, 16 << 30), NodeRoom(1500, 2000, 1 << 30, 8 << 30)))


@pytest.mark.parametrize(
    ("one", "room", "words"),
    [
        (unfit("2 Insufficient cpu."), NODES, "It asks for 64 CPU; no node has more than 1.5 of 2 free. The sch"),
        (unfit("2 Insufficient cpu."), EMPTY, "It asks for 64 CPU; tasks leave 64 of 64 on a node, of which other"),
        (unfit("2 Insufficient memory."), NODES, "It asks for 64 GiB; no node has more than 3 GiB of 16 GiB free."),
        (unfit("2 Insufficient cpu."), Room(None, 0), "It asks for 64 CPU. The scheduler says: 0/2 nodes"),
        (unfit("1 Insufficient nvidia.com/gpu."), NODES, "It asks for 1 GPU; 0 of 2 are free. The scheduler"),
        (unfit("1 Insufficient nvidia.com/gpu."), Room(None, 0), "It asks for 1 GPU. The scheduler says"),
        (
            unfit("2 node(s) didn't match Pod's node affinity/selector.", selector={"disk": "ssd"}), NODES,
            "Its profile asks for a node with the label disk=ssd.",
        ),
        (
            unfit("1 node(s) had untolerated taint {dedicated: gpu}, 1 node(s) had taint {x: }, that"), NODES,
            "does not tolerate the taint dedicated=gpu of a node. Its profile does not tolerate the taint x of",
        ),
    ],
)  # fmt: skip
def test_what_is_short_is_said_in_numbers(one: PodRecord, room: Room, words: str) -> None:
    found = jobs.observe("j", job(), [one], "", room, NOW)
    assert found is not None and found.reason == "Unschedulable"
    assert words in found.message


def test_a_claim_or_a_runtime_class_that_is_not_there_is_missing_configuration() -> None:
    found = seen(unfit('persistentvolumeclaim "work" not found.'))
    assert (found.reason, found.message) == ("ConfigMissing", "The volume claim work is not there.")
    refused = 'Error creating: pods "j-x" is forbidden: pod rejected: RuntimeClass "nvidia" not found'
    assert seen(None, complaint=refused).reason == "ConfigMissing"


def test_a_pod_that_had_to_go_was_evicted_unless_it_left_words_of_its_own() -> None:
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}
    found = seen(pod(ended(137), phase="Failed", conditions=[target]))
    assert (found.reason, found.message) == ("Evicted", "Its pod had to go: drained")
    words = '{"reason": "Interrupted", "message": "A checkpoint was left."}'
    assert seen(pod(ended(1, message=words), phase="Failed", conditions=[target])).reason == "Interrupted"


def server(*, surge: int, trouble: str = "") -> records.ServerRecord:
    metadata = {"name": "s", "uid": "o", "resourceVersion": "1", "annotations": {UID: "u"}}
    template = {"metadata": {"annotations": {DIGEST: "new"}}, "spec": {"containers": [{}]}}
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1 - surge}}
    failure = {"type": "ReplicaFailure", "status": "True", "message": trouble}
    spec = {"replicas": 1, "template": template, "strategy": strategy}
    return records.server_record(
        {"metadata": metadata, "spec": spec, "status": {"conditions": [failure] if trouble else []}}, None
    )


OLD = replace(pod({"running": {"startedAt": AT}}, gpus=1, phase="Running"), digest="old")
STARVED = replace(pod(gpus=1, node="", phase="Pending"), digest="new", unschedulable="Insufficient nvidia.com/gpu.")


def test_a_rollout_makes_room_only_for_a_pod_that_waits_for_a_gpu_beside_an_old_one() -> None:
    assert servers.must_make_room(server(surge=1), [OLD, STARVED])
    assert not servers.must_make_room(server(surge=0), [OLD, STARVED])
    assert not servers.must_make_room(server(surge=1), [OLD, replace(STARVED, unschedulable="", node="n")])
    assert not servers.must_make_room(server(surge=1), [OLD, replace(STARVED, gpus=0)])
    assert not servers.must_make_room(server(surge=1), [STARVED])
    assert not servers.must_make_room(server(surge=1), [replace(OLD, deleting=True), STARVED])


def test_a_rollout_whose_pod_may_not_be_made_says_why() -> None:
    refused = servers.observe(server(surge=1, trouble="exceeded quota: tight"), [OLD], {}, GPUS, ByPod())
    assert [one.digest for one in refused.replicas] == ["old", "new"]
    assert refused.replicas[1].reason == "QuotaExceeded"
    assert "exceeded quota" in refused.replicas[1].message
