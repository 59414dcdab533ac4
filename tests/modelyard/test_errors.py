"""What callers see of everything that can go wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from modelyard import (
    Cause,
    Client,
    Conflict,
    Invalid,
    ModelyardError,
    NotFound,
    NotReady,
    TimedOut,
    Unavailable,
)
from tests.fakes.gateway import FakeGateway, Fault


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(400), Invalid),
        (Fault(401), ModelyardError),
        (Fault(404), NotFound),
        (Fault(409), Conflict),
        (Fault(413), Invalid),
        (Fault(422), Invalid),
        (Fault(429), Unavailable),
        (Fault(500), ModelyardError),
        (Fault(502), Unavailable),
        (Fault(503), Unavailable),
        (Fault(503, code="deployment-not-ready"), NotReady),
        (Fault(504), TimedOut),
    ],
    ids=lambda value: f"{value.status}-{value.code}" if isinstance(value, Fault) else value.__name__,
)
def test_every_answer_has_its_error(gateway: FakeGateway, fault: Fault, kind: type[ModelyardError]) -> None:
    gateway.faults.append(fault)
    with Client(gateway.url, retries=0) as client, pytest.raises(ModelyardError) as caught:
        client.job("t")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (fault.status, fault.code)


def test_a_problem_keeps_what_helps(client: Client, gateway: FakeGateway) -> None:
    causes = [{"pointer": "/hyperparameters/numEpoch", "detail": "must be at least 1"}]
    gateway.faults.append(Fault(422, code="invalid-request", detail="The body is wrong.", causes=causes))
    with pytest.raises(Invalid) as caught:
        client.train(model_profile="p", dataset_path="/d")
    error = caught.value
    assert str(error) == error.detail == "The body is wrong."
    assert error.causes == (Cause("/hyperparameters/numEpoch", "must be at least 1"),)
    assert (error.request_id, error.code) == ("req-1", "invalid-request")


class _Stranger(BaseHTTPRequestHandler):
    """Some web server that is no gateway: its paths name the status and the body of its answers."""

    def do_GET(self) -> None:
        *_, status, body = self.path.split("/")
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write({"html": b"<html>hello</html>", "list": b"[1]", "bytes": b"\xff\xfe", "null": b"null"}[body])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("status", [200, 307, 404, 500])
@pytest.mark.parametrize("body", ["html", "list", "bytes", "null"])
def test_a_server_that_is_no_gateway_is_an_error_and_never_a_surprise(stranger: str, status: int, body: str) -> None:
    with Client(stranger, retries=0) as client, pytest.raises(ModelyardError) as caught:
        client._transport.get(f"/{status}/{body}")
    words = "Is it a Modelyard gateway?" if status == 200 else f"answered with {status}"
    assert words in caught.value.detail


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://[::1", "nonsense"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="is not the address of a gateway"):
        Client(url)


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:9", "ftp://me:secret@host", "http://me:secret@[::1"])
def test_a_password_in_the_address_is_never_shown(url: str) -> None:
    with pytest.raises(ModelyardError) as caught:
        Client(url, retries=0).job("t")
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.__cause__)


def test_the_address_comes_from_the_environment_unless_it_is_given(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODELYARD_URL", raising=False)
    with Client() as client:
        assert client.url == "http://127.0.0.1:8000"
    monkeypatch.setenv("MODELYARD_URL", f"{gateway.url}/")
    with Client() as client:
        assert client.url == gateway.url
    with Client("https://example.test/yard/") as client:
        assert client.url == "https://example.test/yard"


def test_a_proxy_for_the_world_is_not_asked_for_this_machine(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with Client(gateway.url, retries=0) as client:
        assert list(client.jobs()) == []
