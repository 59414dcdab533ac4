"""`yard up` and `yard down` on a checkout with a stub of a gateway, as real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.cli.home import Gateway, Home, start_time
from modelyard.cli.places import gateway_url
from tests.fakes.gateway import FakeGateway
from tests.modelyard.stub_checkout import PATIENCE, StubCheckout, eventually


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[StubCheckout]:
    stub = StubCheckout(tmp_path / "checkout")
    yield stub
    if gateway := Home(stub.home).gateway():
        gateway.stop(patience=0)


@pytest.fixture
def foreigner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with us."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_up_starts_a_gateway_that_outlives_it_and_says_where_everything_is(checkout: StubCheckout) -> None:
    result = checkout.up("-o", "json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said == {
        "url": checkout.url,
        "docs": f"{checkout.url}/docs",
        "mlflow": "http://127.0.0.1:5999",
        "log": str(checkout.home / "gateway.log"),
        "pid": checkout.note()["pid"],
    }
    assert "store ready, tracking ..." in result.stderr
    assert "store ready, tracking ready" in result.stderr
    assert os.getsid(said["pid"]) == said["pid"], "it has a session of its own"
    assert (checkout.home / "gateway.log").read_text() == "stub gateway: well\n"


def test_up_twice_is_up_once(checkout: StubCheckout) -> None:
    checkout.up()
    pid = checkout.note()["pid"]
    again = checkout.up()
    assert again.returncode == 0
    assert f"runs already, at {checkout.url}" in again.stderr
    assert checkout.note()["pid"] == pid


def test_two_ups_at_once_start_one_gateway(checkout: StubCheckout) -> None:
    both = [checkout.start("up", "--port", str(checkout.port), "-o", "json") for _ in range(2)]
    answers = [process.communicate(timeout=PATIENCE) for process in both]
    ready = [json.loads(out)["pid"] for out, _ in answers if out]
    assert ready, answers
    assert set(ready) == {checkout.note()["pid"]}


def test_down_stops_the_gateway_then_the_rest_and_is_harmless_when_repeated(checkout: StubCheckout) -> None:
    checkout.up()
    pid = checkout.note()["pid"]
    first, second = checkout.down(), checkout.down()
    assert (first.returncode, second.returncode) == (0, 0)
    assert "The gateway has stopped." in first.stderr
    assert "1 job left a checkpoint." in first.stderr
    assert start_time(pid) is None
    assert "No gateway runs." in second.stderr
    assert not (checkout.home / "gateway.json").exists()


def test_down_where_nothing_ever_ran_says_so(checkout: StubCheckout) -> None:
    result = checkout.down()
    assert result.returncode == 0
    assert "Nothing runs here" in result.stderr
    assert not checkout.home.exists()


def test_down_can_leave_jobs_and_servers_running(checkout: StubCheckout) -> None:
    checkout.up()
    assert checkout.down("--keep-running").returncode == 0
    assert not (checkout.home / "stopped").exists()


def test_down_removes_the_state_only_when_told_and_asked(checkout: StubCheckout) -> None:
    checkout.up()
    assert checkout.down("--data", answer="n\n").returncode == 1
    assert Home(checkout.home).gateway(), "a no leaves everything as it was"
    assert checkout.down("--data", "--yes").returncode == 0
    assert not checkout.home.exists()


@pytest.mark.parametrize("used", [False, True])
def test_down_never_removes_a_folder_that_is_not_ours(checkout: StubCheckout, tmp_path: Path, used: bool) -> None:
    home = checkout.folder if used else tmp_path / "precious"
    home.mkdir(exist_ok=True)
    if used:
        (home / "gateway.lock").touch()
    (home / "thesis.txt").touch()
    result = checkout.down("--data", "--yes", "--home", str(home))
    assert result.returncode == 1
    assert "is not a state folder" in result.stderr
    assert (home / "thesis.txt").exists()


def test_a_gateway_that_dies_while_starting_is_shown_with_its_last_lines(checkout: StubCheckout) -> None:
    checkout.home.mkdir()
    (checkout.home / "gateway.log").write_text("of an earlier life\n")
    result = checkout.up(behaviour="crash")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "The store cannot be opened." in result.stderr
    assert "line 49" in result.stderr
    assert "line 3\n" not in result.stderr
    assert "of an earlier life" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_gateway_that_never_gets_ready_is_exit_code_4_and_left_to_itself(checkout: StubCheckout) -> None:
    result = checkout.up("--timeout", "1s", behaviour="never")
    assert result.returncode == 4
    assert "Not ready after 1 seconds (store ready, tracking ... (MLflow is starting.))" in result.stderr
    assert Home(checkout.home).gateway()


def test_a_port_that_the_gateway_lacks_ends_up_at_once_and_the_gateway_with_it(checkout: StubCheckout) -> None:
    result = checkout.up(behaviour="no-port")
    assert result.returncode == 1
    assert "Error: Port 5999 is taken by another program.\n" in result.stderr
    assert not (checkout.home / "gateway.json").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", checkout.port)) != 0, "the gateway has ended"


def test_a_gateway_that_ran_before_is_not_stopped_for_a_port_that_it_lacks(checkout: StubCheckout) -> None:
    process = checkout.start("up", "--foreground", "--port", str(checkout.port), behaviour="no-port")
    assert eventually(lambda: Home(checkout.home).gateway() is not None)
    assert "Port 5999 is taken" in checkout.up().stderr
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=PATIENCE)


def test_the_other_commands_find_the_gateway_that_up_started(
    checkout: StubCheckout, gateway: FakeGateway, foreigner: subprocess.Popen[bytes]
) -> None:
    gateway.add_job("t")
    checkout.write_note(pid=foreigner.pid, started=start_time(foreigner.pid), url=gateway.url)
    assert checkout.yard("ls").stdout.startswith("JOB")
    nowhere = checkout.yard("ls", MODELYARD_URL="http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in nowhere.stderr, "the environment wins over the note"


def test_a_home_that_cannot_be_read_leaves_the_default_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_URL", raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    (tmp_path / "gateway.json").mkdir()
    assert gateway_url() == "http://127.0.0.1:8000"


def test_up_advises_an_address_only_to_those_who_need_it(checkout: StubCheckout) -> None:
    assert f"export MODELYARD_URL={checkout.url}" in checkout.up().stderr, "its home is not where others look"
    known = checkout.yard("up", "--checkout", str(checkout.folder))
    assert known.returncode == 0
    assert "MODELYARD_URL" not in known.stderr


def test_up_killed_at_once_leaves_a_gateway_that_is_known(checkout: StubCheckout) -> None:
    process = checkout.start("up", "--port", str(checkout.port))
    assert eventually(lambda: (checkout.home / "gateway.log").exists())
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert eventually(lambda: Home(checkout.home).gateway() is not None)
    result = checkout.up()
    assert result.returncode == 0
    assert "runs already" in result.stderr


def test_a_port_that_is_taken_is_named(checkout: StubCheckout) -> None:
    with socket.create_server(("127.0.0.1", checkout.port)):
        result = checkout.up()
    assert result.returncode == 1
    assert f"Another program answers at {checkout.url}" in result.stderr
    assert "--port, or with MLOPS_HTTP__PORT" in result.stderr
    assert not checkout.home.exists()


def test_in_the_foreground_yard_becomes_the_gateway(checkout: StubCheckout) -> None:
    process = checkout.start("up", "--foreground", "--port", str(checkout.port))
    assert eventually(lambda: Home(checkout.home).gateway() is not None)
    assert checkout.note()["pid"] == process.pid
    assert process.stdout is not None
    assert process.stdout.readline() == "stub gateway: well\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGTERM


def test_a_number_that_another_process_has_now_is_not_taken_for_the_gateway(
    checkout: StubCheckout, foreigner: subprocess.Popen[bytes]
) -> None:
    started = start_time(foreigner.pid)
    assert started
    checkout.write_note(pid=foreigner.pid, started=started - 1, url=checkout.url)
    assert "No gateway runs." in checkout.down().stderr
    assert checkout.up().returncode == 0
    assert checkout.down().returncode == 0
    assert foreigner.poll() is None


def test_a_gateway_that_ignores_the_asking_is_killed(checkout: StubCheckout) -> None:
    checkout.up(behaviour="stubborn")
    gateway = Home(checkout.home).gateway()
    assert gateway
    gateway.stop(patience=0.2)
    assert not gateway.is_alive


def test_stopping_a_number_that_was_used_again_harms_nobody(foreigner: subprocess.Popen[bytes]) -> None:
    Gateway(foreigner.pid, 1, "http://127.0.0.1:9").stop(patience=0)
    assert foreigner.poll() is None


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', '{"pid": "1", "started": 0, "url": ""}', "null"])
def test_a_note_that_says_nothing_is_no_gateway(tmp_path: Path, note: str) -> None:
    (tmp_path / "gateway.json").write_text(note)
    assert Home(tmp_path).gateway() is None


def test_what_is_no_checkout_is_wrong_usage(checkout: StubCheckout) -> None:
    (checkout.folder / "model_profiles.yaml").unlink()
    result = checkout.up()
    assert result.returncode == 2
    assert "is no checkout of Modelyard" in re.sub(r"[│\s]+", " ", result.stderr)
