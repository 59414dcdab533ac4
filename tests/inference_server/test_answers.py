"""A ready server over HTTP: what it answers, and what it withstands."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_server.digest import directory_digest
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.models import EXAMPLE
from tests.inference_server.server_process import ServerProcess, letter, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    with FakeMlflowRest() as mlflow:
        mlflow.log(classifier_folder, directory_digest(classifier_folder))
        with serving(folder, letter(folder, mlflow.url)) as server:
            server.await_ready()
            yield server


def test_it_says_what_it_serves(server: ServerProcess, classifier_folder: Path) -> None:
    status, _, model = server.ask("GET", "/model")
    assert status == 200
    assert model["digest"] == directory_digest(classifier_folder)
    assert (model["runId"], model["loggedModelId"], model["modelId"]) == ("run-1", "m-1", "houses")
    assert model["classes"] == ["middle", "poor", "rich"]
    assert set(model["seconds"]) == {"fetch", "load", "warmUp"}


def test_lists_objects_and_columns_are_answered_alike(server: ServerProcess) -> None:
    names = ("age", "city", "member", "income")
    shapes: list[Any] = [
        EXAMPLE,
        [dict(zip(names, row, strict=True)) for row in EXAMPLE],
        {name: [row[index] for row in EXAMPLE] for index, name in enumerate(names)},
    ]
    answers = [server.predict(shape) for shape in shapes]
    assert {status for status, _, _ in answers} == {200}
    assert answers[0][2] == answers[1][2] == answers[2][2]
    assert len(answers[0][2]["predictions"]) == len(EXAMPLE)


def test_the_seeds_body_is_answered_with_classes_and_probabilities(server: ServerProcess) -> None:
    body = {"userId": "user-1234", "data": {"features": [[40, "Oslo", True, 2500]]}}
    status, headers, answer = server.ask("POST", "/predict", body, {"X-Request-ID": "r-1"})
    assert (status, headers["x-request-id"]) == (200, "r-1")
    assert answer["predictions"] == ["rich"]
    assert set(answer["probabilities"][0]) == {"middle", "poor", "rich"}


def test_what_it_cannot_read_is_refused_with_a_pointer(server: ServerProcess) -> None:
    status, headers, problem = server.predict([[40, "Oslo", True, "rich"]])
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert problem["detail"] == 'Row 1, column "income" holds the text "rich" where a number belongs.'
    assert problem["causes"][0]["pointer"] == "/data/features/0/3"


def test_numbers_as_large_as_are_accepted_do_not_make_it_fail(server: ServerProcess) -> None:
    for number in (1e100, -1e100, 10**99, 5e-324):
        assert server.predict([[number, "Oslo", True, number]])[0] == 200


def test_a_body_over_the_limit_is_413(server: ServerProcess) -> None:
    status, _, problem = server.ask("POST", "/predict", b" " * ((32 << 20) + 1))
    assert (status, problem["code"]) == (413, "body-too-large")


def test_a_request_that_is_no_http_does_not_stop_it(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        raw.recv(1000)
    assert server.ask("GET", "/health/ready")[0] == 200


def test_clients_that_go_away_do_not_stop_it(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    body = json.dumps({"data": {"features": EXAMPLE * 500}}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (head, head + body[:100], head + body):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(sent)
    assert server.predict(EXAMPLE)[0] == 200


def test_a_hundred_megabytes_of_digits_are_refused_in_little_memory(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    before = server.memory
    digits = b"1" * (1 << 20)
    for length, pieces in (("Content-Length: 104857600", digits), ("Transfer-Encoding: chunked", b"100000\r\n%b\r\n")):
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            raw.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
            for _ in range(100):
                raw.sendall(pieces % digits if b"%b" in pieces else pieces)
            assert raw.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
    assert server.memory - before < 100 << 20
    assert server.predict(EXAMPLE)[0] == 200


def test_many_tiny_requests_on_one_connection_are_answered_in_the_same_memory(server: ServerProcess) -> None:
    host, _, port = server.address.rpartition(":")
    body = b'{"data":{"features":[[40,"Oslo",true,900]]}}'
    request = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    sizes = []
    with socket.create_connection((host, int(port)), timeout=60) as raw, raw.makefile("rb") as answers:
        for _ in range(4):
            sender = threading.Thread(target=raw.sendall, args=(request * 1000,))
            sender.start()
            for _ in range(1000):
                head = b"".join(iter(answers.readline, b"\r\n"))
                assert head.startswith(b"HTTP/1.1 200 ")
                answers.read(int(head.split(b"content-length: ")[1].split(b"\r")[0]))
            sender.join()
            sizes.append(server.memory)
    assert sizes[-1] - sizes[0] < 4 << 20


def test_health_is_answered_while_it_predicts(server: ServerProcess) -> None:
    statuses: list[int] = []
    large = threading.Thread(target=lambda: statuses.append(server.predict(EXAMPLE * 40_000)[0]))
    large.start()
    answered = 0
    while large.is_alive():
        assert server.ask("GET", "/health/live")[0] == 200
        answered += 1
    assert statuses == [200]
    assert answered > 3
