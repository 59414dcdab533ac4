"""Letters: how the program is told what to do, and what it says when it is not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from inference_server.contract import ServerInput
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.server_process import letter, serving


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inference_server", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_help_says_how_to_run_it() -> None:
    done = run(["--help"], dict(os.environ))
    assert done.returncode == 0
    assert ServerInput.VARIABLE in done.stdout
    assert "Exit codes: 0 stopped, 2 the letter was unreadable, 3 the model was" in done.stdout.replace("\n", " ")


def test_a_letter_may_be_a_file(tmp_path: Path) -> None:
    with FakeMlflowRest() as mlflow:
        wanted = letter(tmp_path, mlflow.url)
        (tmp_path / "letter.json").write_text(wanted.to_env()[ServerInput.VARIABLE])
        with serving(tmp_path, wanted, str(tmp_path / "letter.json")) as server:
            assert server.exit_code() == 3
            assert server.termination["message"] == "MLflow knows no run 'run-1'."


def test_a_letter_is_read_as_it_was_written(tmp_path: Path) -> None:
    wanted = letter(tmp_path, "http://mlflow:5000", logged_model_id="m-1", use_gpu=True, cpu_threads=3)
    assert ServerInput.from_env(wanted.to_env()) == wanted


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tracking_uri": "sqlite:///mlflow.db"}, "must be the http or https address"),
        ({"tracking_uri": "http://user:hunter2@mlflow"}, "must not carry a user name"),
        ({"listen": "8080"}, "listen must be host:port"),
        ({"listen": ":8080"}, "listen must be host:port"),
        ({"listen": "127.0.0.1:99999"}, "listen must be host:port"),
        ({"listen": "127.0.0.1:http"}, "listen must be host:port"),
    ],
)
def test_a_letter_that_cannot_be_followed_is_exit_2(tmp_path: Path, fields: dict[str, str], words: str) -> None:
    done = run([], {**os.environ, **letter(tmp_path, "http://mlflow", **fields).to_env()})
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"surprise": 1}'])
def test_a_letter_that_is_none_is_exit_2_with_one_sentence(text: str) -> None:
    done = run([], {**os.environ, ServerInput.VARIABLE: text})
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert ServerInput.VARIABLE in done.stderr


def test_a_letter_file_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    assert run([str(tmp_path / "none.json")], dict(os.environ)).returncode == 2


def test_a_port_that_is_taken_is_exit_1_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run([], {**os.environ, **letter(tmp_path, "http://mlflow", listen=listen).to_env()})
    assert done.returncode == 1
    assert "The server cannot listen: Address already in use" in done.stderr
    assert json.loads((tmp_path / "termination").read_text())["reason"] == "Crashed"


def test_the_letters_threads_cap_the_numeric_libraries() -> None:
    program = (
        "import os; from inference_server.main import _cap_threads; _cap_threads(1); "
        "import numpy, sklearn.neural_network, threadpoolctl; "
        "print(sorted({pool['num_threads'] for pool in threadpoolctl.threadpool_info()}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1]"
