"""The API's document: complete, stable, readable without internet; and no body that it allows breaks the gateway."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.main import create_app
from tests.support.gateway_process import eventually, free_port
from tests.support.platform import Yard, fake_platform

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "openapi.json"


async def test_the_document_is_the_one_that_was_reviewed(gateway: Yard, request: pytest.FixtureRequest) -> None:
    document = (await gateway.client.get("/openapi.json")).json()
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "the API changed: review it, then run scripts/test.sh --update-golden"


async def test_aliases_are_left_out_of_the_document(gateway: Yard) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    assert "/api/v1/train/jobs" in paths
    assert not [path for path in paths if path.startswith(("/train", "/inference"))]


async def test_every_operation_has_a_name_of_its_own(gateway: Yard) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert not [name for name in names if "api_v1" in name]


async def test_the_docs_page_asks_only_this_server(gateway: Yard) -> None:
    page = await gateway.client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    assert "http://" not in page.text
    for path in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert f"/static/swagger-ui/{path}" in page.text
        assert (await gateway.client.get(f"/static/swagger-ui/{path}")).status_code == 200


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    platform, _, _ = fake_platform(tmp_path_factory.mktemp("fuzz"))
    server = uvicorn.Server(uvicorn.Config(create_app(platform), port=port, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BODIES = 700  # for each of the three operations with a body: more than 2,000 in all
FUZZ = settings(
    max_examples=BODIES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/train/jobs"),
        ("POST", "/api/v1/inference/deployments"),
        ("PATCH", "/api/v1/inference/deployments/{taskId}"),
    ],
)
def test_no_random_body_breaks_the_gateway(url: str, method: str, path: str) -> None:
    operation = schemathesis.openapi.from_url(f"{url}/openapi.json")[path][method]
    seen: list[int] = []

    @FUZZ
    @given(case=operation.as_strategy())
    def send(case: schemathesis.Case) -> None:
        seen.append(case.call_and_validate(base_url=url, checks=CHECKS).status_code)

    send()
    assert len(seen) >= BODIES
