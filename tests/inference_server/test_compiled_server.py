"""A compiled model's server as a process: small, without the libraries that trained the model, and honest about it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference_server.card import ModelCard
from inference_server.digest import directory_digest
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.models import EXAMPLE
from tests.inference_server.server_process import ServerProcess, letter, serving
from trainer.compilation.compiling import compile_model

MEMORY = 150 << 20
HEAVY = re.compile(r"/(sklearn|skops|pandas|scipy|torch|transformers)/")


@pytest.fixture
def mlflow() -> Iterator[FakeMlflowRest]:
    with FakeMlflowRest() as server:
        yield server


@pytest.fixture
def folder(classifier_folder: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(classifier_folder, tmp_path / "model"))
    compiled = compile_model(folder, [{"features": EXAMPLE}])
    replace(ModelCard.read(folder), compiled=compiled).write(folder)
    return folder


def libraries(server: ServerProcess) -> set[str]:
    """Of the heavy ones, those whose compiled parts the process has loaded."""
    return set(HEAVY.findall(Path(f"/proc/{server.process.pid}/maps").read_text()))


def test_it_is_small_answers_and_says_what_it_serves_and_why(
    mlflow: FakeMlflowRest, folder: Path, tmp_path: Path
) -> None:
    mlflow.log(folder, directory_digest(folder))
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        server.await_ready()
        status, _, answer = server.predict(EXAMPLE)
        assert (status, len(answer["predictions"])) == (200, len(EXAMPLE))
        _, _, described = server.ask("GET", "/model")
        assert described["served"] == "compiled"
        assert described["reason"] == described["compiled"]["reason"]
        assert libraries(server) == set()
        assert server.memory < MEMORY


def test_the_measured_peak_is_that_of_the_server(mlflow: FakeMlflowRest, folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inference_server.measuring", str(folder)], capture_output=True, text=True, check=True
    )
    measured = json.loads(done.stdout)["peakMemoryBytes"]
    mlflow.log(folder, directory_digest(folder))
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        server.await_ready()
        assert server.memory == pytest.approx(measured, rel=0.1)


def test_without_its_graph_a_compiled_model_is_refused(mlflow: FakeMlflowRest, folder: Path, tmp_path: Path) -> None:
    (folder / "model.onnx").unlink()
    mlflow.log(folder, directory_digest(folder))
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        assert server.exit_code() == 3
        assert "model.onnx cannot be read" in server.termination["message"]


def test_a_graph_that_was_changed_in_the_store_is_refused(mlflow: FakeMlflowRest, folder: Path, tmp_path: Path) -> None:
    mlflow.log(folder, directory_digest(folder))
    with (folder / "model.onnx").open("ab") as graph:
        graph.write(b"\0")
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        assert server.exit_code() == 3
        assert "are not those that were logged" in server.termination["message"]


def test_an_original_serves_where_the_graph_was_not_equal(mlflow: FakeMlflowRest, folder: Path, tmp_path: Path) -> None:
    refused = {"isEqual": False, "reason": "Compiled, but not equal, so the original is served: of 9 rows 1 differs."}
    replace(ModelCard.read(folder), compiled=refused).write(folder)
    mlflow.log(folder, directory_digest(folder))
    with serving(tmp_path, letter(tmp_path, mlflow.url)) as server:
        server.await_ready()
        _, _, described = server.ask("GET", "/model")
        assert (described["served"], described["reason"]) == ("original", refused["reason"])
        assert "sklearn" in libraries(server)
