"""A job's life as its status tells it, whatever the runtime and MLflow go through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.errors import RuntimeUnavailable
from tests.support.platform import Yard, eventually, yard

JOB = "train-train-reg-01"


async def status_is(gateway: Yard, word: str, task_id: str = "train-reg-01") -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = await gateway.job(task_id)
        return status if status["status"] == word else None

    found: dict[str, Any] = await eventually(look)
    return found


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["conditions"] if one["type"] == type_)
    return found


async def test_a_job_runs_and_succeeds(gateway: Yard) -> None:
    await gateway.submit()
    running = await status_is(gateway, "Running")
    assert running["startTime"]
    assert running["termination"] is None
    gateway.runtime.ends(JOB, 0, "Completed", "Trained 100 epochs.")
    done = await status_is(gateway, "Succeeded")
    assert (done["reason"], done["message"]) == ("Completed", "Trained 100 epochs.")
    assert done["termination"]["exitCode"] == 0
    assert done["progress"]["percent"] == 100
    assert done["endTime"] == done["termination"]["finishTime"]


async def test_a_failed_job_says_why(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.ends(JOB, 3, "DataUnreadable", "The file has no column 'price'.")
    failed = await status_is(gateway, "Failed")
    assert (failed["reason"], failed["message"]) == ("DataUnreadable", "The file has no column 'price'.")
    assert failed["termination"]["reason"] == "DataUnreadable"


async def test_a_job_killed_by_a_signal_names_it(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.ends(JOB, None, signal="SIGKILL")
    termination = (await status_is(gateway, "Failed"))["termination"]
    assert (termination["exitCode"], termination["signal"]) == (None, "SIGKILL")


async def test_progress_and_the_run_come_from_mlflow(gateway: Yard) -> None:
    uid = (await gateway.submit()).json()["uid"]
    await status_is(gateway, "Running")
    run = gateway.mlflow.log("run-1", job_uid=uid, metrics={"progress": 40.0, "loss": 0.5})

    async def progress() -> bool:
        return (await gateway.job())["progress"] == {"percent": 40, "metrics": {"loss": 0.5}}

    await eventually(progress)
    run.metrics |= {"progress": 100.0, "loss": 0.25, "bad": float("nan")}
    gateway.runtime.ends(JOB)
    done = await status_is(gateway, "Succeeded")
    assert done["mlflowRunId"] == gateway.runtime.runs[JOB] == "run-1"
    assert done["progress"] == {"percent": 100, "metrics": {"loss": 0.25}}


async def test_an_ended_job_waits_a_moment_for_an_mlflow_that_is_away(gateway: Yard) -> None:
    uid = (await gateway.submit()).json()["uid"]
    await status_is(gateway, "Running")
    gateway.mlflow.is_down = True
    gateway.runtime.ends(JOB)
    refused = gateway.mlflow.refused

    async def asked_in_vain() -> bool:
        return gateway.mlflow.refused > refused + 2

    await eventually(asked_in_vain)
    assert (await gateway.job())["status"] == "Running"
    gateway.mlflow.log("run-1", job_uid=uid, metrics={"loss": 0.25})
    gateway.mlflow.is_down = False
    assert (await status_is(gateway, "Succeeded"))["mlflowRunId"] == "run-1"


async def test_an_mlflow_that_hangs_holds_up_no_launch(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.mlflow.is_hung = True
    await gateway.submit(taskId="other")

    async def launched() -> bool:
        return "train-other" in gateway.runtime.launched

    await eventually(launched)
    gateway.mlflow.is_hung = False


async def test_a_progress_that_is_no_number_is_none(gateway: Yard) -> None:
    uid = (await gateway.submit()).json()["uid"]
    await status_is(gateway, "Running")
    run = gateway.mlflow.log("run-1", job_uid=uid, metrics={"progress": float("nan"), "loss": 1.0})

    async def progress(percent: float | None) -> bool:
        return (await gateway.job())["progress"] == {"percent": percent, "metrics": {"loss": 1}}

    await eventually(lambda: progress(None))
    run.metrics["progress"] = 1e300
    await eventually(lambda: progress(100))


@pytest.mark.parametrize(("stops", "end"), [(False, "FAILED"), (True, "KILLED")])
async def test_a_run_that_its_trainer_left_open_is_closed(gateway: Yard, stops: bool, end: str) -> None:
    uid = (await gateway.submit()).json()["uid"]
    await status_is(gateway, "Running")
    run = gateway.mlflow.log("run-1", job_uid=uid)
    if stops:
        await gateway.client.delete("/api/v1/train/jobs/train-reg-01")
    else:
        gateway.runtime.ends(JOB, None, signal="SIGKILL")
    await status_is(gateway, "Cancelled" if stops else "Failed")
    assert run.status == end


async def test_a_job_that_waits_for_a_gpu_says_so(gateway: Yard) -> None:
    gateway.runtime.gpus = 1
    image = {"modelProfile": "image_classification", "useGpu": True, "hyperparameters": {}}
    await gateway.submit(taskId="first", **image)
    await status_is(gateway, "Running", "first")
    await gateway.submit(taskId="second", **image)

    async def waits() -> bool:
        return (await gateway.job("second"))["reason"] == "Unschedulable"

    await eventually(waits)
    waiting = await gateway.job("second")
    assert waiting["status"] == "Queued"
    assert "0 of 1 are free" in waiting["message"]
    gateway.runtime.ends("train-first")
    await status_is(gateway, "Running", "second")


async def test_a_job_that_has_its_place_and_cannot_start_says_why(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.is_unready(JOB, "ImagePullFailed", "Its image cannot be pulled (2 tries seen): connection refused")
    starting = await status_is(gateway, "Starting")
    assert starting["reason"] == "ImagePullFailed" and "connection refused" in starting["message"]
    assert condition(starting, "Scheduled")["status"] == "True"
    assert condition(starting, "Started")["status"] == "False"
    gateway.runtime.becomes_ready(JOB)
    assert condition(await status_is(gateway, "Running"), "Started")["message"] == "The trainer is running."


async def test_more_gpus_than_there_are_is_refused(gateway: Yard) -> None:
    answer = await gateway.submit(modelProfile="image_classification", useGpu=True, hyperparameters={})
    assert (answer.status_code, answer.json()["code"]) == (422, "never-fits")
    assert answer.json()["causes"][0]["pointer"] == "/useGpu"


async def test_a_missing_framework_is_refused_with_the_command_that_installs_it(gateway: Yard) -> None:
    gateway.runtime.missing = {"torch"}
    answer = await gateway.submit(modelProfile="text_generation", hyperparameters={})
    assert (answer.status_code, answer.json()["code"]) == (422, "framework-missing")
    assert "pip install -r requirements/trainer.in -r requirements/torch.in" in answer.json()["detail"]


async def test_a_stopped_job_is_cancelled_and_stopping_again_changes_nothing(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    assert (await gateway.client.delete("/api/v1/train/jobs/train-reg-01")).status_code == 202
    cancelled = await status_is(gateway, "Cancelled")
    assert cancelled["reason"] == "Cancelled"
    assert (await gateway.client.delete("/api/v1/train/jobs/train-reg-01")).status_code == 202
    assert await gateway.job() == cancelled


async def test_a_stop_that_comes_too_late_leaves_a_success_a_success(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.stubborn.add(JOB)
    await gateway.client.delete("/api/v1/train/jobs/train-reg-01")
    gateway.runtime.ends(JOB, 0)
    await status_is(gateway, "Succeeded")


async def test_a_job_stopped_before_its_launch_never_runs(gateway: Yard) -> None:
    gateway.runtime.outage = RuntimeUnavailable("not now")
    await gateway.submit()
    await gateway.client.delete("/api/v1/train/jobs/train-reg-01")
    gateway.runtime.outage = None
    cancelled = await status_is(gateway, "Cancelled")
    assert gateway.runtime.launched == []
    assert "before it started" in cancelled["message"]


async def test_an_interrupted_job_goes_on(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.ends(JOB, 1, "Interrupted", "Stopped after epoch 12 of 100.")

    async def launched_again() -> bool:
        return gateway.runtime.launched == [JOB, JOB]

    await eventually(launched_again)
    gateway.runtime.ends(JOB)
    await status_is(gateway, "Succeeded")


async def test_an_interrupted_job_that_was_cancelled_stays_cancelled(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    gateway.runtime.stubborn.add(JOB)
    await gateway.client.delete("/api/v1/train/jobs/train-reg-01")
    gateway.runtime.ends(JOB, 1, "Interrupted", "Stopped after epoch 12 of 100.")
    await status_is(gateway, "Cancelled")
    assert gateway.runtime.launched == [JOB]


async def test_a_job_of_which_every_trace_is_lost_has_failed(gateway: Yard) -> None:
    await gateway.submit()
    await status_is(gateway, "Running")
    await gateway.runtime.delete(JOB)
    lost = await status_is(gateway, "Failed")
    assert lost["reason"] == "Lost"


async def test_a_runtime_that_is_away_delays_and_loses_nothing(gateway: Yard) -> None:
    gateway.runtime.outage = RuntimeUnavailable("not now")
    assert (await gateway.submit()).status_code == 202
    gateway.runtime.outage = None
    await status_is(gateway, "Running")
    assert gateway.runtime.launched == [JOB]


async def test_what_one_gateway_accepted_the_next_one_launches(tmp_path: Path) -> None:
    async with yard(tmp_path) as first:
        first.runtime.outage = RuntimeUnavailable("not now")
        await first.submit()
    async with yard(tmp_path) as second:
        await status_is(second, "Running")
        assert second.runtime.launched == [JOB]


async def test_only_one_of_two_gateways_launches(tmp_path: Path) -> None:
    async with yard(tmp_path) as first, yard(tmp_path) as second:
        for number in range(4):
            await second.submit(taskId=f"job-{number}")
            await status_is(second, "Running", f"job-{number}")
        launched = first.runtime.launched + second.runtime.launched
        assert launched == [f"train-job-{number}" for number in range(4)]


async def test_one_job_that_cannot_be_launched_keeps_no_other_from_its_turn(gateway: Yard) -> None:
    await gateway.runtime.apply(_foreign_spec(gateway))
    await gateway.submit()
    await gateway.submit(taskId="other")
    await status_is(gateway, "Running", "other")


def _foreign_spec(gateway: Yard) -> Any:
    """A server that holds the job's name: the fake knows no job of that name and refuses to apply one."""
    from datetime import timedelta

    from app.core.specs import Program, Resources, ServerSpec

    return ServerSpec(JOB, "x", "other-life", Program("m", {}, "i"), Resources(1, 1), timedelta(minutes=1))
