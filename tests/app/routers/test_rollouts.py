"""Another model for a deployment, over REST."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.mlflow import FakeRun
from tests.support.platform import Yard, eventually, yard

OLD, NEW = "90df8a7a263149d2bb86a71be7442611", "11111111263149d2bb86a71be7442611"
SERVER = "serve-deploy-reg-01"
URL = "/api/v1/inference/deployments/deploy-reg-01"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Yard]:
    """A gateway with a ready deployment of one of two known models."""
    async with yard(tmp_path) as running:
        running.mlflow.log(OLD, model_id="m-1")
        running.mlflow.log(NEW, model_id="m-2")
        await running.deploy()
        await starts(running, 1)
        running.runtime.becomes_ready(SERVER)
        await status_is(running, lambda status: status["servingRevision"] == 1)
        yield running


async def starts(gateway: Yard, count: int) -> None:
    async def look() -> bool:
        return len(gateway.runtime.launched) >= count

    await eventually(look)


async def status_is(gateway: Yard, wanted: Any) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = await gateway.deployment()
        return status if wanted(status) else None

    found: dict[str, Any] = await eventually(look)
    return found


def progress(status: dict[str, Any]) -> dict[str, Any]:
    found = [one for one in status["conditions"] if one["type"] == "Progressing"]
    return found[0] if found else {"reason": "", "message": ""}


async def progress_is(gateway: Yard, reason: str) -> dict[str, Any]:
    return await status_is(gateway, lambda status: progress(status)["reason"] == reason)


async def patch(gateway: Yard, **body: Any) -> dict[str, Any]:
    answer = await gateway.client.patch(URL, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_another_model_is_rolled_out_while_the_old_one_serves(gateway: Yard) -> None:
    answer = await patch(gateway, mlflowRunId=NEW)
    assert (answer["mlflowRunId"], answer["revision"]) == (NEW, 2)
    await starts(gateway, 2)
    rolling = await progress_is(gateway, "RollingOut")
    assert (rolling["status"], rolling["replicas"]) == ("Ready", {"wanted": 1, "ready": 1})
    assert (rolling["servingRevision"], rolling["mlflowRunId"]) == (1, OLD)
    assert "0 of 1" in progress(rolling)["message"]
    gateway.runtime.becomes_ready(SERVER, replica=1)
    over = await progress_is(gateway, "RolledOut")
    assert (over["servingRevision"], over["mlflowRunId"], over["status"]) == (2, NEW, "Ready")


async def test_a_model_that_cannot_serve_is_given_up_and_the_old_one_stays(gateway: Yard) -> None:
    await patch(gateway, mlflowRunId=NEW)
    await starts(gateway, 2)
    gateway.runtime.ends(SERVER, 3, "ModelUnreadable", "The digest differs.", replica=1)
    failed = await progress_is(gateway, "RolloutFailed")
    assert "The digest differs." in progress(failed)["message"] and "PATCH again" in progress(failed)["message"]
    assert (failed["status"], failed["servingRevision"], failed["mlflowRunId"]) == ("Ready", 1, OLD)

    async def alone() -> bool:
        seen = (await gateway.runtime.observe_servers([SERVER]))[SERVER]
        return [one.state for one in seen.replicas] == ["Running"]

    await eventually(alone)
    assert (await patch(gateway, replicas=2))["revision"] == 2
    assert (await patch(gateway, mlflowRunId=NEW))["revision"] == 3  # once more
    await progress_is(gateway, "RollingOut")
    assert (await patch(gateway, mlflowRunId=OLD))["revision"] == 4
    await starts(gateway, 3)


async def test_what_is_so_already_changes_nothing(gateway: Yard) -> None:
    assert (await patch(gateway, mlflowRunId=OLD))["revision"] == 1
    assert (await patch(gateway, replicas=1))["revision"] == 1
    assert len(gateway.runtime.launched) == 1


async def test_a_model_of_the_registry_is_changed_by_its_alias_or_version_alone(gateway: Yard) -> None:
    gateway.mlflow.versions |= {("houses", "@champion"): NEW, ("houses", "7"): OLD}
    by_alias = await patch(gateway, modelName="houses", alias="champion")
    assert (by_alias["modelName"], by_alias["alias"], by_alias["mlflowRunId"]) == ("houses", "champion", NEW)
    by_version = await patch(gateway, version="7")
    assert (by_version["modelName"], by_version["alias"], by_version["version"]) == ("houses", None, "7")
    assert (await patch(gateway, mlflowRunId=NEW))["modelName"] is None


async def test_the_body_that_made_it_still_names_it(gateway: Yard) -> None:
    await patch(gateway, mlflowRunId=NEW)
    again = await gateway.deploy()
    assert (again.status_code, again.json()["mlflowRunId"]) == (200, NEW)
    assert (await gateway.deploy(mlflowRunId=NEW)).status_code == 409


async def test_of_changes_at_once_one_wins_whole(gateway: Yard) -> None:
    runs = [f"{number}" * 32 for number in range(5)]
    for run in runs:
        gateway.mlflow.runs[run] = FakeRun(run, "e", model_id=f"m-{run[0]}")
    answers = await asyncio.gather(
        *(gateway.client.patch(URL, json={"mlflowRunId": run}) for run in runs),
        gateway.client.patch(URL, json={"replicas": 3}),
    )
    assert {answer.status_code for answer in answers} == {200}
    kept = await gateway.platform.deployments.get("deploy-reg-01")
    assert kept.run_id == kept.model["mlflowRunId"] and kept.run_id in str(kept.spec.program.environment)
    assert (kept.revision, kept.spec.replicas) == (6, 3)


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({}, "invalid-request", ""),
        ({"replicas": None}, "invalid-request", ""),
        ({"modelId": "x"}, "invalid-request", "/modelId"),
        ({"mlflowRunId": "0" * 32}, "run-not-found", "/mlflowRunId"),
        ({"mlflowRunId": NEW, "alias": "a"}, "invalid-request", ""),
        ({"alias": "a", "version": "1"}, "invalid-request", ""),
        ({"modelName": "m"}, "invalid-request", ""),
        ({"version": "1"}, "invalid-request", "/modelName"),
        ({"modelName": "m", "version": "1"}, "model-version-not-found", "/version"),
    ],
)
async def test_what_is_wrong_with_a_change_is_pointed_at(
    gateway: Yard, body: dict[str, Any], code: str, pointer: str
) -> None:
    answer = await gateway.client.patch(URL, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert pointer in [cause["pointer"] for cause in answer.json()["causes"]]


async def test_a_model_of_another_family_is_refused(gateway: Yard) -> None:
    gateway.mlflow.log("other", model_id="m-3", profile="tabular_classification")
    answer = await gateway.client.patch(URL, json={"mlflowRunId": "other"})
    assert (answer.status_code, answer.json()["causes"][0]["pointer"]) == (422, "/modelProfile")
