"""A model's facts: what was measured at its registration is shown with a deployment, and a limit below it refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.contract import Facts
from tests.support.platform import Yard, deploy_body, yard

RUN = "90df8a7a263149d2bb86a71be7442611"
URL = "/api/v1/inference/deployments"
GIB = 1 << 30  # what the profile of the published example gives a server
FACTS = Facts("compiled", "Compiled, and equal.", 0.2, 70 << 20, 64, 1e-5, 2e-5, 1e-4, 3e-4)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path) as running:
        yield running


def log(gateway: Yard, facts: Facts | None, run_id: str = RUN) -> None:
    gateway.mlflow.log(run_id, model_id="m-1", facts=facts.to_tag() if facts else None)


async def test_the_status_says_what_is_served_and_why_and_what_was_measured(gateway: Yard) -> None:
    log(gateway, FACTS)
    answer = (await gateway.deploy()).json()
    assert answer["status"]["facts"] == FACTS.to_json()
    assert (await gateway.deployment())["facts"]["reason"] == "Compiled, and equal."


async def test_a_model_that_nobody_measured_is_deployed_without_facts(gateway: Yard) -> None:
    log(gateway, None)
    answer = await gateway.deploy()
    assert (answer.status_code, answer.json()["status"]["facts"]) == (202, None)


async def test_a_tag_that_is_no_facts_is_no_facts(gateway: Yard) -> None:
    gateway.mlflow.log(RUN, model_id="m-1", facts='{"served": "compiled"}')
    assert (await gateway.deploy()).json()["status"]["facts"] is None


@pytest.mark.parametrize("params", [{}, {"dryRun": "true"}])
async def test_a_limit_below_the_measured_peak_is_refused_with_both_numbers(
    gateway: Yard, params: dict[str, str]
) -> None:
    log(gateway, replace(FACTS, peak_memory_bytes=GIB + 1))
    answer = await gateway.client.post(URL, params=params, json=deploy_body())
    assert (answer.status_code, answer.json()["code"]) == (422, "limit-below-facts")
    assert str(GIB) in answer.json()["detail"]
    assert str(GIB + 1) in answer.json()["detail"]
    assert [cause["pointer"] for cause in answer.json()["causes"]] == ["/modelProfile"]
    assert gateway.runtime.launched == []
    assert (await gateway.client.get(f"{URL}/deploy-reg-01")).status_code == 404


async def test_a_limit_that_is_the_measured_peak_is_enough(gateway: Yard) -> None:
    log(gateway, replace(FACTS, peak_memory_bytes=GIB))
    assert (await gateway.deploy()).status_code == 202


async def test_a_change_to_a_model_that_needs_more_is_refused_and_changes_nothing(gateway: Yard) -> None:
    log(gateway, FACTS)
    log(gateway, replace(FACTS, peak_memory_bytes=2 * GIB), run_id="b" * 32)
    await gateway.deploy()
    answer = await gateway.client.patch(f"{URL}/deploy-reg-01", json={"mlflowRunId": "b" * 32})
    assert (answer.status_code, answer.json()["code"]) == (422, "limit-below-facts")
    assert (await gateway.deployment())["revision"] == 1


async def test_a_version_of_the_registry_has_facts_too(gateway: Yard) -> None:
    log(gateway, FACTS)
    gateway.mlflow.versions["house", "7"] = RUN
    answer = await gateway.deploy(mlflowRunId=None, modelName="house", version="7")
    assert answer.json()["status"]["facts"]["peakMemoryBytes"] == 70 << 20


async def test_on_a_gpu_the_original_is_served_and_the_status_says_so(gateway: Yard) -> None:
    log(gateway, FACTS)
    gateway.runtime.gpus = 1
    answer = await gateway.deploy(modelProfile="image_classification", useGpu=True)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"]["facts"]["served"] == "original"
    assert answer.json()["status"]["facts"]["reason"].startswith("On a GPU the original is served.")
