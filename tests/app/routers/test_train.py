"""Training jobs over REST, as the published contract prints them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.platform import Yard, eventually, sqlite_is_quiet, train_body


async def test_a_new_job_is_accepted_with_its_location(gateway: Yard) -> None:
    answer = await gateway.submit()
    assert answer.status_code == 202
    assert answer.headers["location"] == "/api/v1/train/jobs/train-reg-01"
    job = answer.json()
    assert job["initialModelFilePath"] is None
    assert job["status"]["status"] == "Queued"
    assert (await gateway.client.get(answer.headers["location"])).json()["uid"] == job["uid"]


async def test_the_unprefixed_form_is_the_same_api(gateway: Yard) -> None:
    answer = await gateway.client.post("/train/jobs", json=train_body())
    assert answer.status_code == 202
    assert (await gateway.client.get("/train/jobs/train-reg-01/status")).status_code == 200


async def test_an_equal_body_is_the_same_job(gateway: Yard) -> None:
    first, second = await gateway.submit(), await gateway.submit(initialModelFilePath=None)
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["uid"] == second.json()["uid"]


async def test_equal_bodies_at_once_are_one_job(gateway: Yard) -> None:
    answers = await asyncio.gather(*(gateway.submit() for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
    assert len({answer.json()["uid"] for answer in answers}) == 1


async def test_another_body_is_a_conflict_that_names_what_differs(gateway: Yard) -> None:
    await gateway.submit()
    answer = await gateway.submit(datasetPath="/other.csv", hyperparameters={"numEpoch": 5, "learningRate": 0.001})
    assert answer.status_code == 409
    problem = answer.json()
    assert problem["code"] == "task-exists"
    pointers = [cause["pointer"] for cause in problem["causes"]]
    assert pointers == ["/datasetPath", "/hyperparameters/numBatch", "/hyperparameters/numEpoch"]
    assert "'/other.csv'" in problem["causes"][0]["detail"]


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"taskId": "Train_1"}, "/taskId", "lower-case"),
        ({"taskId": "t" * 54}, "/taskId", "at most 53"),
        ({"taskId": None}, "/taskId", "required"),
        ({"useGpu": 0}, "/useGpu", "boolean"),
        ({"useGpu": "false"}, "/useGpu", "boolean"),
        ({"surprise": 1}, "/surprise", "no such field"),
        ({"task_id": "x"}, "/task_id", "no such field"),
        ({"modelProfile": "nope"}, "/modelProfile", "Known profiles: tabular_regression"),
        ({"useGpu": True}, "/useGpu", "gives no GPU"),
        ({"hyperparameters": {"numEpoch": "many"}}, "/hyperparameters/numEpoch", "integer"),
        ({"hyperparameters": {"numEpochs": 3}}, "/hyperparameters/numEpochs", "none of"),
        ({"datasetPath": "relative.csv"}, "/datasetPath", "absolute"),
        ({"datasetPath": "http://u:s3cret@host/x.csv"}, "/datasetPath", "password"),
        ({"datasetPath": "ftp://host/x.csv"}, "/datasetPath", "s3:"),
        ({"initialModelFilePath": "model.pkl"}, "/initialModelFilePath", "absolute"),
        ({"customModelName": "a/b"}, "/customModelName", "leave out"),
        ({"customModelName": "a\x9b31m"}, "/customModelName", "leave out"),
        ({"experimentName": "a\0b"}, "/experimentName", "control characters"),
        ({"experimentName": "\x1b[2J"}, "/experimentName", "control characters"),
        ({"hyperparameters": {"targetColumn": "a\0b"}}, "/hyperparameters/targetColumn", "NUL"),
    ],
)
async def test_what_is_wrong_is_pointed_at(gateway: Yard, changes: dict[str, Any], pointer: str, words: str) -> None:
    answer = await gateway.submit(**changes)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    [cause] = answer.json()["causes"]
    assert cause["pointer"] == pointer
    assert words in cause["detail"]
    assert "s3cret" not in answer.text
    assert (await gateway.client.get("/api/v1/train/jobs")).json()["items"] == []


async def test_a_body_that_is_no_json_is_said_to_be_none(gateway: Yard) -> None:
    headers = {"content-type": "application/json"}
    answer = await gateway.client.post("/api/v1/train/jobs", content=b"{oops", headers=headers)
    assert answer.status_code == 422
    assert "is not JSON" in answer.json()["detail"]


async def test_a_name_that_is_no_text_is_refused(gateway: Yard) -> None:
    for name in (r"\ud800", "", "a b", "a-b"):
        content = json.dumps(train_body(hyperparameters={"X": 1})).replace('"X"', f'"{name}"')
        answer = await gateway.client.post(
            "/api/v1/train/jobs", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")


async def test_a_body_without_its_content_type_is_told_so(gateway: Yard) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await gateway.client.post("/api/v1/train/jobs", content=b'{"taskId": "x"}', headers=headers)
    assert answer.status_code == 422
    assert "Content-Type: application/json" in answer.json()["detail"]


async def test_a_dry_run_says_what_would_be_launched_and_launches_nothing(gateway: Yard) -> None:
    answer = await gateway.client.post("/api/v1/train/jobs", params={"dryRun": "true"}, json=train_body())
    assert answer.status_code == 200
    assert answer.json()["dryRun"] is True
    assert answer.json()["launch"]
    assert (await gateway.client.get("/api/v1/train/jobs/train-reg-01")).status_code == 404


async def test_a_dry_run_makes_the_same_checks(gateway: Yard) -> None:
    answer = await gateway.client.post("/api/v1/train/jobs", params={"dryRun": "true"}, json=train_body(useGpu=True))
    assert answer.json()["code"] == "gpu-not-allowed"


async def test_an_unknown_job_is_not_found_everywhere(gateway: Yard) -> None:
    for suffix in ("", "/status", "/logs", "/logs?follow=true"):
        answer = await gateway.client.get(f"/api/v1/train/jobs/nobody{suffix}")
        assert (answer.status_code, answer.json()["code"]) == (404, "job-not-found")
    assert (await gateway.client.delete("/api/v1/train/jobs/nobody")).status_code == 404


async def test_a_list_is_read_page_by_page_while_jobs_are_added(gateway: Yard) -> None:
    for number in range(5):
        await gateway.submit(taskId=f"job-{number}")
    seen, token = [], ""
    while True:
        page = (await gateway.client.get("/api/v1/train/jobs", params={"pageSize": 2, "pageToken": token})).json()
        seen += [job["taskId"] for job in page["items"]]
        await gateway.submit(taskId=f"late-{len(seen)}")
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == ["job-4", "job-3", "job-2", "job-1", "job-0"]


async def test_a_list_is_filtered(gateway: Yard) -> None:
    await gateway.submit(taskId="a", experimentName="one")
    await gateway.submit(taskId="b", experimentName="two", modelProfile="tabular_classification")
    await gateway.client.delete("/api/v1/train/jobs/a")
    await eventually(lambda: _is(gateway, "a", "Cancelled"))
    for query, wanted in (
        ({"experimentName": "one"}, ["a"]),
        ({"modelProfile": "tabular_classification"}, ["b"]),
        ({"status": "Cancelled"}, ["a"]),
        ({"status": "Succeeded"}, []),
    ):
        page = (await gateway.client.get("/api/v1/train/jobs", params=query)).json()
        assert [job["taskId"] for job in page["items"]] == wanted


@pytest.mark.parametrize(
    "query", ["pageSize=0", "pageSize=501", "pageToken=forged", "status=Bored", "dryRun=perhaps", "experimentName=%00"]
)
async def test_a_bad_query_parameter_is_refused(gateway: Yard, query: str) -> None:
    answer = await gateway.client.request(
        "POST" if "dryRun" in query else "GET", f"/api/v1/train/jobs?{query}", json=train_body()
    )
    assert answer.status_code == 422
    assert query.split("=")[0] in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/train/jobs/a%00b/status", "/inference/deployments/a%00b"])
async def test_what_no_database_can_keep_is_not_there(gateway: Yard, path: str) -> None:
    """PostgreSQL would refuse the question; that is no outage to be tried again."""
    assert (await gateway.client.get(path)).status_code == 404


async def test_a_misspelt_parameter_is_refused_and_launches_nothing(gateway: Yard) -> None:
    answer = await gateway.client.post("/api/v1/train/jobs?dryrun=true", json=train_body())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-parameter")
    assert "known are dryRun" in answer.json()["detail"]
    assert (await gateway.client.get("/api/v1/train/jobs")).json()["items"] == []


async def test_a_request_keeps_its_id(gateway: Yard) -> None:
    answer = await gateway.client.get("/api/v1/train/jobs/nobody", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == answer.json()["requestId"] == "mine-1"
    answer = await gateway.client.get("/api/v1/train/jobs/nobody", headers={"X-Request-ID": "not mine\t"})
    assert answer.headers["x-request-id"] == answer.json()["requestId"] != "not mine\t"


async def test_a_store_that_is_away_is_an_outage_without_its_secrets(gateway: Yard) -> None:
    await gateway.platform.close()
    database, away = gateway.platform.settings.home / "modelyard.db", gateway.platform.settings.home / "away"
    database.rename(away)
    database.mkdir()
    answer = await gateway.client.get("/api/v1/train/jobs/any")
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert answer.headers["retry-after"]
    assert str(gateway.platform.settings.home) not in answer.text
    await sqlite_is_quiet()
    database.rmdir()
    away.rename(database)


async def _is(gateway: Yard, task_id: str, status: str) -> bool:
    return bool((await gateway.job(task_id))["status"] == status)


async def test_the_events_of_a_job_tell_how_its_run_ended(gateway: Yard) -> None:
    await gateway.submit()

    async def ran() -> bool:
        return bool((await gateway.client.get("/api/v1/train/jobs/train-reg-01/events")).json()["runs"])

    await eventually(ran)
    gateway.runtime.ends("train-train-reg-01", 3, "DataUnreadable")
    (run,) = (await gateway.client.get("/train/jobs/train-reg-01/events")).json()["runs"]
    assert (run["exitCode"], run["reason"], run["node"]) == (3, "DataUnreadable", "fake")
    assert (await gateway.client.get("/train/jobs/nobody/events")).status_code == 404
