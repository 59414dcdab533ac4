"""The SDK against a gateway over real HTTP."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from modelyard import (
    Client,
    Conflict,
    Invalid,
    JobPhase,
    JobStatus,
    Kind,
    NotFound,
    Progress,
    TaskFailed,
    TimedOut,
    Unavailable,
)
from tests.fakes.gateway import FakeGateway, Fault


def test_train_sends_what_was_asked_for_and_names_the_rest(client: Client, gateway: FakeGateway) -> None:
    job = client.train(
        model_profile="tabular_regression", dataset_path="/d.csv", use_gpu=True, hyperparameters={"numEpoch": 3}
    )
    assert gateway.requests("POST")[0].body == {
        "taskId": job.task_id,
        "experimentName": "tabular_regression",
        "customModelName": "tabular_regression",
        "modelProfile": "tabular_regression",
        "datasetPath": "/d.csv",
        "useGpu": True,
        "hyperparameters": {"numEpoch": 3},
    }
    assert job.status.phase is JobPhase.QUEUED


def test_a_task_id_that_is_not_given_is_a_short_dns_label_and_new_each_time(client: Client) -> None:
    profile = "A_Profile whose name goes on/and on and on and on and on and on"
    names = {client.train(model_profile=profile, dataset_path="/d.csv").task_id for _ in range(3)}
    assert len(names) == 3
    for name in names:
        assert re.fullmatch(r"train-a-profile-[a-z0-9-]*[a-z0-9]-[0-9a-f]{6}", name)
        assert len(name) <= 53


def test_a_misspelt_argument_is_refused_before_anything_is_sent(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'dataset'"):
        client.train(model_profile="p", dataset_path="/d", dataset="/d")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing a required keyword argument: 'dataset_path'"):
        client.train(model_profile="p")  # type: ignore[call-arg]
    assert gateway.seen == []


def test_the_same_task_twice_is_one_job_and_another_body_is_a_conflict(client: Client, gateway: FakeGateway) -> None:
    first = client.train(model_profile="p", dataset_path="/d", task_id="t")
    assert client.train(model_profile="p", dataset_path="/d", task_id="t") == first
    with pytest.raises(Conflict) as caught:
        client.train(model_profile="p", dataset_path="/other", task_id="t")
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("task-exists", 409, "req-1")
    assert len(gateway.jobs) == 1


def test_a_deployment_is_named_after_its_task_unless_it_is_named(client: Client, gateway: FakeGateway) -> None:
    client.deploy(model_profile="p", mlflow_run_id="r", task_id="d1")
    client.deploy(model_profile="p", model_name="m", alias="champion", model_id="house", replicas=2)
    first, second = (seen.body for seen in gateway.requests("POST"))
    assert first == {"taskId": "d1", "modelId": "d1", "modelProfile": "p", "mlflowRunId": "r"}
    assert second.pop("taskId").startswith("deploy-p-")
    assert second == {"modelId": "house", "modelProfile": "p", "modelName": "m", "alias": "champion", "replicas": 2}


def test_a_plan_launches_nothing(client: Client, gateway: FakeGateway) -> None:
    plan = client.plan_training(model_profile="p", dataset_path="/d")
    assert plan["launch"]["command"] == ["python", "-m", "x"]
    assert client.plan_deployment(model_profile="p", mlflow_run_id="r")["dryRun"] is True
    assert gateway.jobs == gateway.deployments == {}


def test_lists_go_over_all_pages(client: Client, gateway: FakeGateway) -> None:
    gateway.page_limit = 3
    for number in range(8):
        gateway.add_job(f"job-{number}", "Running" if number % 2 else "Failed")
        gateway.add_deployment(f"served-{number}")
    assert [job.task_id for job in client.jobs()] == [f"job-{number}" for number in range(8)]
    assert [d.task_id for d in client.deployments()] == [f"served-{number}" for number in range(8)]
    assert [job.task_id for job in client.jobs(status="Failed")] == ["job-0", "job-2", "job-4", "job-6"]


def test_a_page_is_read_only_when_it_is_reached(client: Client, gateway: FakeGateway) -> None:
    gateway.page_limit = 2
    for number in range(8):
        gateway.add_job(f"job-{number}")
    jobs = client.jobs()
    assert [next(jobs).task_id, next(jobs).task_id] == ["job-0", "job-1"]
    assert len(gateway.requests("GET")) == 1


def test_a_name_is_found_whatever_it_names(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("a")
    gateway.add_deployment("b")
    assert (client.find("a").kind, client.find("b").kind) == (Kind.JOB, Kind.DEPLOYMENT)
    with pytest.raises(NotFound, match="no job and no deployment 'c'"):
        client.find("c")


def test_a_name_of_two_things_is_never_guessed(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("a")
    gateway.add_deployment("a")
    with pytest.raises(Conflict, match="say which kind"):
        client.delete("a")
    assert gateway.requests("DELETE") == []
    assert client.delete("a", Kind.DEPLOYMENT).kind is Kind.DEPLOYMENT
    assert gateway.deployments == {}


@pytest.mark.parametrize("task_id", ["", ".", "..", "a/b"])
def test_what_is_no_task_id_never_becomes_another_path(client: Client, gateway: FakeGateway, task_id: str) -> None:
    with pytest.raises(Invalid, match="is not a task id"):
        client.delete(task_id, Kind.JOB)
    assert gateway.seen == []


def test_scale_and_delete_reach_the_deployment(client: Client, gateway: FakeGateway) -> None:
    gateway.add_deployment("d")
    assert client.scale("d", 3).replicas == 3
    client.delete("d")
    client.wait_until_deleted("d", Kind.DEPLOYMENT, timeout=10)
    assert gateway.deployments == {}


def test_waiting_for_a_job_follows_it_to_its_end(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Queued")
    half = {"status": "Running", "progress": {"percent": 50.0, "metrics": {"loss": 0.5, "r2": None}}}
    gateway.script("t", {}, half, {"status": "Failed", "termination": {"reason": "DataUnreadable", "exitCode": 3}})
    told: list[tuple[str, Progress | float | None]] = []
    status = client.wait_for_job(
        "t", timeout=30, check=False, on_progress=lambda s: told.append((s.phase, s.progress and s.progress.percent))
    )
    assert told == [("Queued", None), ("Running", 50.0), ("Failed", 50.0)]
    assert status.termination is not None
    assert (status.phase, status.termination.exit_code) == (JobPhase.FAILED, 3)


def test_waiting_for_a_job_that_fails_raises_why(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Queued")
    gateway.script("t", {"status": "Failed", "termination": {"reason": "DataUnreadable", "message": "It has no rows."}})
    with pytest.raises(TaskFailed) as caught:
        client.wait_for_job("t", timeout=30)
    assert caught.value.detail == "Training job t failed (DataUnreadable): It has no rows."
    assert caught.value.code == "task-failed"
    assert isinstance(caught.value.task_status, JobStatus)
    assert caught.value.task_status.phase is JobPhase.FAILED


def test_waiting_for_a_job_that_is_cancelled_raises_unless_its_end_was_wished_for(
    client: Client, gateway: FakeGateway
) -> None:
    gateway.add_job("t", "Cancelled")
    gateway.jobs["t"]["status"]["termination"] = None
    with pytest.raises(TaskFailed) as caught:
        client.wait_for_job("t", timeout=30)
    assert caught.value.detail == "Training job t was cancelled (BecauseCancelled): The job is cancelled."
    client.wait_until_deleted("t", Kind.JOB, timeout=30)


def test_waiting_for_a_deployment_that_fails_raises_why_unless_unchecked(client: Client, gateway: FakeGateway) -> None:
    gateway.add_deployment("d", "Failed")
    with pytest.raises(TaskFailed, match=r"^Deployment d failed \(BecauseFailed\): The deployment is failed\.$"):
        client.wait_for_deployment("d", timeout=30)
    assert client.wait_for_deployment("d", timeout=30, check=False).phase == "Failed"


def test_waiting_goes_on_through_a_restart_of_the_gateway(client: Client, gateway: FakeGateway) -> None:
    gateway.add_deployment("d", "Deploying")
    gateway.script("d", {}, {"status": "Ready"})
    gateway.faults.extend([Fault(503), Fault(hang_up=True), Fault(502)])
    assert client.wait_for_deployment("d", timeout=30).phase == "Ready"
    assert len(gateway.requests("GET")) == 5


def test_waiting_too_long_says_what_it_was_waiting_for(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Queued")
    with pytest.raises(TimedOut, match=r"'t' is still Queued after 0 seconds: The job is queued\."):
        client.wait_for_job("t", timeout=0)


def test_waiting_ends_when_the_gateway_stays_away(gateway: FakeGateway, pauses: list[float]) -> None:
    gateway.faults.extend([Fault(502)] * 10_000)
    with Client(gateway.url, sleep=pauses.append, patience=0.05) as client, pytest.raises(Unavailable):
        client.wait_for_job("t")


def test_waiting_for_what_is_not_there_ends_at_once(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(NotFound):
        client.wait_for_job("t", timeout=30)
    assert len(gateway.seen) == 1


def test_what_a_newer_gateway_says_more_is_kept_and_harms_nothing(client: Client, gateway: FakeGateway) -> None:
    gateway.add_job("t", "Hibernating", priority=7)
    job = client.job("t")
    assert job.status.phase == "Hibernating"
    assert not job.status.is_final
    assert job.raw["priority"] == 7
    assert job.create_time == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_what_an_older_gateway_does_not_say_takes_its_default(client: Client, gateway: FakeGateway) -> None:
    gateway.jobs["t"] = {"taskId": "t", "status": None, "createTime": "long ago", "hyperparameters": None}
    job = client.job("t")
    assert (job.task_id, job.create_time, job.hyperparameters, job.status.conditions) == ("t", None, {}, ())
