"""The program as a process: from a letter to predictions, and every way in which it ends."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_server.digest import directory_digest
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.models import EXAMPLE
from tests.inference_server.server_process import ServerProcess, letter, serving, until


@pytest.fixture
def mlflow() -> Iterator[FakeMlflowRest]:
    with FakeMlflowRest() as server:
        yield server


def log(mlflow: FakeMlflowRest, folder: Path) -> str:
    digest = directory_digest(folder)
    mlflow.log(folder, digest)
    return digest


def changed(folder: Path, target: Path, **content: str) -> Path:
    """A copy of a model's folder in which some files were changed."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    for name, text in content.items():
        (target / name).write_text(text)
    return target


def test_ready_comes_after_the_warm_up_and_stop_is_exit_0(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    log(mlflow, classifier_folder)
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        seen = []
        while not seen or seen[-1] != (200, "Ready"):
            status, _, content = server.ask("GET", "/health/ready")
            seen.append((status, content["reason"]))
            assert server.process.poll() is None, server.log
        assert {status for status, reason in seen if reason != "Ready"} == {503}
        assert (503, "Loading") in seen
        server.terminate()
        assert server.exit_code() == 0
    assert not (tmp_path / "termination").exists()
    assert "INFO The server stopped as it was told to." in server.log.splitlines()[-1]
    assert all(
        re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) ", line) for line in server.log.splitlines()
    )


def test_told_to_stop_it_finishes_what_it_has_begun(
    mlflow: FakeMlflowRest, regressor_folder: Path, tmp_path: Path
) -> None:
    log(mlflow, regressor_folder)
    with serving(tmp_path, letter(tmp_path, mlflow.url, family="tabular_regression")) as server:
        server.await_ready()
        host, _, port = server.address.rpartition(":")
        body = json.dumps({"data": {"features": EXAMPLE * 20_000}}).encode()
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            raw.sendall(
                f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:-1]
            )
            server.terminate()
            until(lambda: not accepts(host, int(port)), "new connections being refused")
            raw.sendall(body[-1:])
            answer = b"".join(iter(lambda: raw.recv(1 << 20), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 40_000
        assert server.exit_code() == 0


def accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def ends(tmp_path: Path, mlflow: FakeMlflowRest, **fields: Any) -> tuple[int, str]:
    """The exit code and the sentence of a server that cannot go on; log and termination agree on it."""
    with serving(tmp_path, letter(tmp_path, mlflow.url, **fields)) as server:
        code = server.exit_code()
        assert server.log.splitlines()[-1].endswith(f"ERROR {server.termination['message']}")
        assert server.termination["reason"] == {3: "ModelUnreadable"}.get(code, server.termination["reason"])
        return code, server.termination["message"]


def test_a_file_that_was_changed_after_logging_is_refused(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    digest = directory_digest(classifier_folder)
    mlflow.log(changed(classifier_folder, tmp_path / "changed", **{"model.skops": "other"}), digest)
    code, message = ends(tmp_path, mlflow)
    found = directory_digest(tmp_path / "changed")
    assert code == 3
    assert message == f"The model's files are not those that were logged (expected {digest}, found {found})."


def test_a_model_that_is_larger_than_the_cache_may_hold_is_told_with_numbers(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    mlflow.log(classifier_folder, directory_digest(classifier_folder))
    code, message = ends(tmp_path, mlflow, model_cache_bytes=100)
    size = sum(path.stat().st_size for path in classifier_folder.rglob("*"))
    assert code == 1
    assert message == f"The model has {size:,} bytes, and the model cache may hold 100 in all: let it hold more."
    assert not [path for path in mlflow.asked if "model.skops" in path]


def test_a_file_that_was_added_after_logging_is_refused(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    mlflow.log(changed(classifier_folder, tmp_path / "more", extra="x"), directory_digest(classifier_folder))
    assert ends(tmp_path, mlflow)[0] == 3


def test_a_model_whose_digest_nobody_wrote_down_is_refused(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    mlflow.log(classifier_folder, None)
    code, message = ends(tmp_path, mlflow)
    assert code == 3
    assert "cannot be checked; they are refused" in message
    assert not any("mlflow-artifacts" in path for path in mlflow.asked)


def test_a_pickle_is_refused_and_not_opened(mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled = f"cos\nmkdir\n(S'{canary}'\ntR.".encode()
    folder = changed(classifier_folder, tmp_path / "hostile")
    (folder / "model.skops").write_bytes(b"\x80\x02" + pickled)
    log(mlflow, folder)
    code, message = ends(tmp_path, mlflow)
    assert code == 3
    assert message == "model.skops is a pickle, which can run code when it is opened; it is refused."
    assert not canary.exists()


def test_a_name_that_leads_out_of_the_cache_is_refused(
    mlflow: FakeMlflowRest, classifier_folder: Path, tmp_path: Path
) -> None:
    log(mlflow, classifier_folder)
    mlflow.listings[mlflow.artifact_path("m-1")] = [{"path": "../../evil", "is_dir": False}]
    code, message = ends(tmp_path, mlflow)
    assert code == 3
    assert "leads out of its folder" in message


def test_a_run_that_mlflow_does_not_know_is_said(mlflow: FakeMlflowRest, tmp_path: Path) -> None:
    assert ends(tmp_path, mlflow) == (3, "MLflow knows no run 'run-1'.")


def test_without_mlflow_it_waits_and_then_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with serving(tmp_path, letter(tmp_path, url, tracking_patience_seconds=3)) as server:
        waiting = until(lambda: _phase_with(server, "trying again"), "the phase to say so")
        assert waiting["reason"] == "Fetching"
        assert server.exit_code() == 1
        assert server.termination["reason"] == "TrackingUnavailable"
        assert "does not answer" in server.termination["message"]


def _phase_with(server: ServerProcess, words: str) -> Any:
    _, _, phase = server.ask("GET", "/health/ready")
    return phase if words in phase["message"] else None


def test_an_mlflow_that_comes_late_is_waited_for(
    mlflow: FakeMlflowRest, regressor_folder: Path, tmp_path: Path
) -> None:
    log(mlflow, regressor_folder)
    mlflow.failures = [503, 503, 500]
    with serving(tmp_path, letter(tmp_path, mlflow.url, family="tabular_regression")) as server:
        server.await_ready()


def test_told_to_stop_while_it_waits_for_mlflow_it_stops(tmp_path: Path) -> None:
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and never answers
    with silent, serving(tmp_path, letter(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}")) as server:
        until(lambda: server.ask("GET", "/health/ready")[2]["reason"] == "Fetching", "fetching")
        server.process.send_signal(signal.SIGINT)
        assert server.exit_code() == 0
