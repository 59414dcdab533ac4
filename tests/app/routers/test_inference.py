"""Deployments over REST, from acceptance to removal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.platform import Yard, deploy_body, eventually, yard

RUN = "90df8a7a263149d2bb86a71be7442611"
SERVER = "serve-deploy-reg-01"
URL = "/api/v1/inference/deployments/deploy-reg-01"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Yard]:
    """A gateway whose MLflow knows the published example's run."""
    async with yard(tmp_path) as running:
        running.mlflow.log(RUN, model_id="m-1")
        yield running


async def status_is(gateway: Yard, word: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = await gateway.deployment()
        return status if status["status"] == word else None

    found: dict[str, Any] = await eventually(look)
    return found


async def launched(gateway: Yard, count: int = 1) -> None:
    async def look() -> bool:
        return len(gateway.runtime.launched) >= count

    await eventually(look)


async def ready(gateway: Yard) -> None:
    await gateway.deploy()
    await launched(gateway)
    gateway.runtime.becomes_ready(SERVER)
    await status_is(gateway, "Ready")


async def test_a_deployment_is_accepted_launched_and_ready(gateway: Yard) -> None:
    answer = await gateway.deploy()
    assert answer.status_code == 202
    assert answer.headers["location"] == URL
    await launched(gateway)
    deploying = await status_is(gateway, "Deploying")
    assert deploying["replicas"] == {"wanted": 1, "ready": 0}
    gateway.runtime.becomes_ready(SERVER)
    assert (await status_is(gateway, "Ready"))["replicas"] == {"wanted": 1, "ready": 1}


async def test_an_equal_body_is_the_same_deployment(gateway: Yard) -> None:
    answers = await asyncio.gather(*(gateway.deploy() for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert len({answer.json()["uid"] for answer in answers}) == 1


async def test_another_body_is_a_conflict_that_names_what_differs(gateway: Yard) -> None:
    await gateway.deploy()
    answer = await gateway.deploy(modelId="other")
    assert (answer.status_code, answer.json()["code"]) == (409, "task-exists")
    assert [cause["pointer"] for cause in answer.json()["causes"]] == ["/modelId"]


async def test_a_model_id_is_unique_among_live_deployments(gateway: Yard) -> None:
    await gateway.deploy()
    answer = await gateway.deploy(taskId="second")
    assert (answer.status_code, answer.json()["code"]) == (409, "model-id-taken")
    assert "deploy-reg-01" in answer.json()["detail"]
    await gateway.client.delete(URL)
    await eventually(lambda: _is_gone(gateway))
    assert (await gateway.deploy(taskId="second")).status_code == 202


async def test_two_tasks_that_want_one_model_id_at_once_do_not_both_get_it(gateway: Yard) -> None:
    answers = await asyncio.gather(*(gateway.deploy(taskId=f"task-{number}") for number in range(4)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    refused = [answer.json()["code"] for answer in answers if answer.status_code == 409]
    assert refused == ["model-id-taken"] * 3


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"modelId": "Predictor_1"}, "invalid-request", "/modelId"),
        ({"mlflowRunId": "0" * 32}, "run-not-found", "/mlflowRunId"),
        ({"mlflowRunId": None}, "invalid-request", ""),
        ({"modelName": "m"}, "invalid-request", ""),
        ({"mlflowRunId": None, "modelName": "m"}, "invalid-request", ""),
        ({"mlflowRunId": None, "modelName": "m", "alias": "champion"}, "model-version-not-found", "/alias"),
        ({"mlflowRunId": None, "modelName": "m", "version": "3"}, "model-version-not-found", "/version"),
        ({"replicas": -1}, "invalid-request", "/replicas"),
        ({"replicas": True}, "invalid-request", "/replicas"),
        ({"useGpu": True}, "gpu-not-allowed", "/useGpu"),
        ({"modelProfile": "nope"}, "profile-unknown", "/modelProfile"),
    ],
)
async def test_what_is_wrong_is_pointed_at(gateway: Yard, changes: dict[str, Any], code: str, pointer: str) -> None:
    answer = await gateway.deploy(**changes)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [cause["pointer"] for cause in answer.json()["causes"]] == [pointer]


async def test_a_run_without_a_model_is_refused(gateway: Yard) -> None:
    gateway.mlflow.log("empty")
    answer = await gateway.deploy(mlflowRunId="empty")
    assert (answer.status_code, answer.json()["code"]) == (422, "run-has-no-model")


async def test_a_model_is_named_by_alias_or_version(gateway: Yard) -> None:
    gateway.mlflow.versions |= {("houses", "@champion"): RUN, ("houses", "7"): RUN}
    for number, by in enumerate(({"alias": "champion"}, {"version": "7"})):
        task = {"taskId": f"d-{number}", "modelId": f"m-{number}", "mlflowRunId": None, "modelName": "houses"}
        answer = await gateway.deploy(**task, **by)
        assert answer.status_code == 202
        assert answer.json()["mlflowRunId"] == RUN
        assert answer.json()["status"]["modelVersion"] == "7"


async def test_a_run_of_another_family_is_refused(gateway: Yard) -> None:
    gateway.mlflow.runs[RUN].profile = "tabular_classification"
    answer = await gateway.deploy()
    assert answer.status_code == 422
    assert answer.json()["causes"][0]["pointer"] == "/modelProfile"
    assert "'tabular_classification'" in answer.json()["detail"]


async def test_an_unknown_alias_of_a_known_model_is_refused(gateway: Yard) -> None:
    gateway.mlflow.versions |= {("houses", "@champion"): RUN}
    answer = await gateway.deploy(mlflowRunId=None, modelName="houses", alias="challenger")
    assert (answer.status_code, answer.json()["code"]) == (422, "model-version-not-found")


async def test_a_deployment_that_has_failed_is_not_worth_a_retry(gateway: Yard) -> None:
    await gateway.deploy()
    await launched(gateway)
    gateway.runtime.ends(SERVER, 3, "ModelUnreadable", "It is a pickle.")
    await status_is(gateway, "Failed")
    answer = await gateway.client.post("/api/v1/inference/deploy-reg-01/predict", json={})
    assert (answer.status_code, answer.json()["retryable"]) == (503, False)


async def test_an_mlflow_that_is_away_is_an_outage(gateway: Yard) -> None:
    gateway.mlflow.is_down = True
    answer = await gateway.deploy()
    assert (answer.status_code, answer.json()["code"]) == (503, "tracking-unavailable")
    assert answer.json()["retryable"] is True


async def test_a_repeated_submit_needs_no_mlflow(gateway: Yard) -> None:
    await gateway.deploy()
    gateway.mlflow.is_down = True
    assert (await gateway.deploy()).status_code == 200


async def test_a_dry_run_says_what_would_be_launched_and_launches_nothing(gateway: Yard) -> None:
    answer = await gateway.client.post("/api/v1/inference/deployments", params={"dryRun": "true"}, json=deploy_body())
    assert answer.status_code == 200
    assert "m-1" in str(answer.json()["launch"])
    assert (await gateway.client.get(URL)).status_code == 404


async def test_a_server_is_told_how_much_its_model_cache_may_hold(tmp_path: Path) -> None:
    async with yard(tmp_path, model_cache_size=5 << 20) as gateway:
        gateway.mlflow.log(RUN, model_id="m-1")
        answer = await gateway.client.post(
            "/api/v1/inference/deployments", params={"dryRun": "true"}, json=deploy_body()
        )
    assert '"model_cache_bytes":5242880' in str(answer.json()["launch"])


async def test_it_is_scaled_by_patch(gateway: Yard) -> None:
    await ready(gateway)
    answer = await gateway.client.patch(URL, json={"replicas": 2})
    assert (answer.status_code, answer.json()["replicas"]) == (200, 2)
    await launched(gateway, 2)
    degraded = await status_is(gateway, "Degraded")
    assert degraded["replicas"] == {"wanted": 2, "ready": 1}
    gateway.runtime.becomes_ready(SERVER, replica=1)
    await status_is(gateway, "Ready")
    assert (await gateway.deploy()).status_code == 200  # the body that made it still names it


async def test_nothing_but_replicas_and_the_model_can_be_patched(gateway: Yard) -> None:
    await gateway.deploy()
    answer = await gateway.client.patch(URL, json={"modelId": "x"})
    assert {cause["pointer"] for cause in answer.json()["causes"]} == {"/modelId"}


async def test_without_replicas_it_is_asleep(gateway: Yard) -> None:
    await ready(gateway)
    await gateway.client.patch(URL, json={"replicas": 0})
    await status_is(gateway, "Asleep")


async def test_a_deleted_deployment_is_not_found_once_it_is_gone(gateway: Yard) -> None:
    await ready(gateway)
    gateway.runtime.stubborn.add(SERVER)
    assert (await gateway.client.delete(URL)).status_code == 202
    assert (await gateway.client.delete(URL)).status_code == 202
    await status_is(gateway, "Deleting")
    again = await gateway.deploy()
    assert (again.status_code, again.json()["code"]) == (409, "being-deleted")
    gateway.runtime.ends(SERVER, None, signal="SIGTERM")
    await eventually(lambda: _is_gone(gateway))
    assert (await gateway.client.delete(URL)).status_code == 404
    assert (await gateway.deploy()).status_code == 202


async def test_a_model_that_cannot_be_read_fails_the_deployment_with_its_sentence(gateway: Yard) -> None:
    await gateway.deploy()
    await launched(gateway)
    gateway.runtime.ends(SERVER, 3, "ModelUnreadable", "The model's files are not those that were logged.")
    failed = await status_is(gateway, "Failed")
    assert failed["reason"] == "ModelUnreadable"
    assert "not those that were logged" in failed["message"]


async def test_a_server_that_breaks_later_is_degraded_and_recovers(gateway: Yard) -> None:
    await ready(gateway)
    gateway.runtime.ends(SERVER, None, signal="SIGSEGV")
    degraded = await status_is(gateway, "Degraded")
    assert degraded["reason"] == "Crashed"
    gateway.runtime.restarts(SERVER)
    gateway.runtime.becomes_ready(SERVER)
    assert (await status_is(gateway, "Ready"))["restarts"] == 1


async def test_a_prediction_for_an_unknown_task_is_not_found(gateway: Yard) -> None:
    for prefix in ("/api/v1", ""):
        answer = await gateway.client.post(f"{prefix}/inference/nobody/predict", json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "deployment-not-found")


async def test_a_prediction_before_it_is_ready_says_why_and_when_to_come_again(gateway: Yard) -> None:
    await gateway.deploy()
    await launched(gateway)
    gateway.runtime.is_unready(SERVER, "Fetching", "Fetching the model.")

    async def says_so() -> bool:
        return (await gateway.deployment())["reason"] == "Fetching"

    await eventually(says_so)
    answer = await gateway.client.post("/api/v1/inference/deploy-reg-01/predict", json={})
    assert (answer.status_code, answer.json()["code"]) == (503, "deployment-not-ready")
    assert int(answer.headers["retry-after"]) > 0
    assert "Fetching the model" in answer.json()["detail"]


async def test_routes_follow_readiness(gateway: Yard) -> None:
    await ready(gateway)

    async def routed() -> bool:
        route = gateway.platform.routes.get("deploy-reg-01")
        return route is not None and len(route.replicas) == 1

    await eventually(routed)
    gateway.runtime.ends(SERVER, None, signal="SIGKILL")

    async def unrouted() -> bool:
        return not await routed()

    await eventually(unrouted)


async def test_a_sticky_header_reaches_the_route(gateway: Yard) -> None:
    answer = await gateway.deploy(stickyHeader="X-Session")
    assert (answer.status_code, answer.json()["stickyHeader"]) == (202, "X-Session")
    assert (await gateway.deploy(stickyHeader="X-Other")).status_code == 409
    assert (await gateway.deploy(taskId="other", modelId="other", stickyHeader="X Y")).status_code == 422

    async def routed() -> bool:
        route = gateway.platform.routes.get("deploy-reg-01")
        return route is not None and route.sticky_header == b"x-session"

    await eventually(routed)


async def _is_gone(gateway: Yard) -> bool:
    return (await gateway.client.get(URL)).status_code == 404
