"""Which paths of a model server are carried: those of its protocols, and nothing that is the server's own affair."""

from __future__ import annotations

import json

import pytest

from app.core.protocols import carried, error_body

BASE = "/api/v1/inference/iris"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2"),
        ("GET", "/v2/health/live"),
        ("GET", "/v2/health/ready"),
        ("GET", "/v2/models/houses"),
        ("GET", "/v2/models/houses-2/versions/0a1b/ready"),
        ("POST", "/v2/models/houses/infer"),
        ("POST", "/v2/models/houses/versions/0a1b/infer"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/houses"),
        ("POST", "/v1/models/houses:predict"),
        ("GET", "/ping"),
        ("GET", "/version"),
        ("POST", "/invocations"),
        ("GET", "/openai/v1/models/houses"),
        ("POST", "/openai/v1/completions"),
        ("POST", "/openai/v1/chat/completions"),
    ],
)
def test_a_protocols_path_is_carried_as_it_is(method: str, path: str) -> None:
    for base in (BASE, "/inference/iris"):
        found = carried(method, base + path)
        assert found is not None
        assert (found.task_id, found.target) == ("iris", (method.encode(), path.encode()))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{BASE}/model"),
        ("GET", f"{BASE}/health"),
        ("GET", f"{BASE}/health/live"),
        ("GET", f"{BASE}/metrics"),
        ("POST", f"{BASE}/predict"),  # found by one look, without this
        ("POST", f"{BASE}/v2"),
        ("GET", f"{BASE}/v2/"),
        ("GET", f"{BASE}/v2/../model"),
        ("GET", f"{BASE}/v2/models/../../model"),
        ("GET", f"{BASE}/v2/models/.."),
        ("GET", f"{BASE}/v2/models/a/b"),
        ("POST", f"{BASE}/v2/models/a b/infer"),
        ("POST", f"{BASE}/v2/models/a\r\nX: y/infer"),
        ("POST", f"{BASE}/v2/models/ü/infer"),
        ("POST", f"{BASE}/v2/repository/models/a/load"),
        ("DELETE", f"{BASE}/v2/models/houses"),
        ("GET", f"{BASE}/v2/models/houses/infer"),
        ("GET", f"{BASE}//v2"),
        ("GET", "/api/v1/inference//v2"),
        ("GET", "/api/v1/inference/deployments/ping"),
        ("GET", "/api/v1/inference/a/b/v2"),
        ("GET", "/api/v2/inference/iris/v2"),
        ("GET", "/v2"),
    ],
)
def test_nothing_else_is(method: str, path: str) -> None:
    assert carried(method, path) is None


def test_a_query_goes_along() -> None:
    found = carried("GET", f"{BASE}/v2")
    assert found is not None
    assert found.with_query(b"a=1&b=%20") == (b"GET", b"/v2?a=1&b=%20")
    assert found.with_query(b"") == (b"GET", b"/v2")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/models/x/infer", {"error": "Gone."}),
        ("/v2/nonsense", {"error": "Gone."}),
        ("/v1/models/x:predict", {"error": "Gone."}),
        ("/invocations", {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "Gone."}),
        (
            "/openai/v1/completions",
            {"error": {"message": "Gone.", "type": "server_error", "param": None, "code": "replica_lost"}},
        ),
        ("/predict", None),
        ("/v3/models", None),
    ],
)
def test_an_error_is_written_as_the_paths_protocol_does(path: str, body: object) -> None:
    written = error_body(BASE + path, 503, "replica-lost", "Gone.")
    assert (written and json.loads(written)) == body


def test_the_platforms_own_paths_have_the_platforms_errors() -> None:
    for path in ("/api/v1/train/jobs", "/api/v1/inference/deployments/v2", "/api/v1/inference/deployments/a/status"):
        assert error_body(path, 404, "not-found", "Gone.") is None
