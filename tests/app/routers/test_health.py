"""Probes, metrics and what the platform says of itself."""

from __future__ import annotations

from app.core.errors import RuntimeUnavailable
from tests.support.platform import Yard


async def test_ready_names_what_does_not_answer(gateway: Yard) -> None:
    assert (await gateway.client.get("/livez")).status_code == 200
    answer = await gateway.client.get("/readyz")
    assert answer.status_code == 200
    assert [check["ok"] for check in answer.json()["checks"].values()] == [True, True, True]
    gateway.mlflow.is_down = True
    gateway.runtime.outage = RuntimeUnavailable("secret detail")
    answer = await gateway.client.get("/readyz")
    assert answer.status_code == 503
    assert {name: check["ok"] for name, check in answer.json()["checks"].items()} == {
        "store": True,
        "tracking": False,
        "runtime": False,
    }
    assert "secret detail" not in answer.text
    assert (await gateway.client.get("/livez")).status_code == 200


async def test_metrics_are_in_prometheus_format(gateway: Yard) -> None:
    answer = await gateway.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE inference_requests_total counter" in answer.text
    assert "process_resident_memory_bytes" in answer.text


async def test_profiles_say_what_can_be_asked_for(gateway: Yard) -> None:
    items = (await gateway.client.get("/api/v1/profiles")).json()["items"]
    regression = next(item for item in items if item["name"] == "tabular_regression")
    assert regression["hyperparameters"]["numEpoch"]["default"] == 100
    assert regression["training"]["gpus"] == 0


async def test_capabilities_say_what_is_not_isolated(gateway: Yard) -> None:
    capabilities = (await gateway.client.get("/api/v1/capabilities")).json()
    assert capabilities["runtime"]["isolationGaps"] == ["Nothing is real here."]
    assert capabilities["tracking"]["uri"] == "http://mlflow"


async def test_what_does_not_exist_is_a_problem_document(gateway: Yard) -> None:
    for method, path, status, code in (
        ("GET", "/nothing", 404, "not-found"),
        ("PUT", "/livez", 405, "method-not-allowed"),
        ("POST", "/api/v1/train/jobs", 413, "body-too-large"),
    ):
        body = b" " * (2 << 20) if status == 413 else b""
        answer = await gateway.client.request(method, path, content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.json()["requestId"]
