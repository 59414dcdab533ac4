"""`yard` as a process of its own: interrupts, closed pipes, what it imports and what is installed of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import modelyard
from tests.fakes.gateway import FakeGateway

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds; a bound, not an expectation


@contextmanager
def yard(gateway: FakeGateway, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-m", "modelyard.cli", "--url", gateway.url, *words]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_interrupts
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _hear_interrupts() -> None:
    """A shell has what it runs in the background ignore them, and their children with them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def chatty(gateway: FakeGateway) -> FakeGateway:
    gateway.add_job("t", "Running")
    gateway.logs["t"] = b"".join(b"line %d\n" % number for number in range(3000))
    return gateway


def test_an_interrupt_ends_it_quietly_with_130(chatty: FakeGateway) -> None:
    with yard(chatty, "logs", "t", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line 0\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "")


def test_a_reader_that_has_seen_enough_ends_it_quietly(chatty: FakeGateway) -> None:
    with yard(chatty, "logs", "t", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "line 0\n"
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1


def test_without_a_gateway_it_says_what_to_do() -> None:
    with FakeGateway() as gone:
        pass
    with yard(gone, "ls") as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, "")
    assert "Start one with `yard up`" in err


def test_the_sdk_needs_neither_the_command_line_nor_the_platform() -> None:
    script = "import sys, modelyard; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert not {"typer", "rich", "app", "trainer", "inference_server"} & set(loaded.stdout.split())


def test_every_package_of_ours_is_installed_with_its_types() -> None:
    root = Path(modelyard.__file__).parent
    packages = {".".join(found.parent.relative_to(root.parent).parts) for found in root.rglob("__init__.py")}
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(setuptools["packages"]) == packages
    assert setuptools["package-data"] == {"modelyard": ["py.typed"]}
