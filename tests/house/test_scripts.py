"""The operator's scripts before a cluster that refuses: they say so, and promise nothing that they did not see."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = ("deploy_all_k3s.sh", "monitor_all.sh", "clear_all_k3s.sh")
FORBIDDEN = 'echo "Error from server (Forbidden): you may not" >&2; exit 1'
AWAY = 'echo "Unable to connect to the server: timeout" >&2; exit 1'


class Cluster:
    """A kubectl that answers by shell patterns of its arguments, the first that fits; what fits none gets silence."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._answers = folder, ['"config current-context") echo test']

    def answers(self, pattern: str, command: str) -> None:
        self._answers.append(f"{pattern}) {command}")

    def asked(self) -> str:
        log = self._folder / "asked"
        return log.read_text() if log.exists() else ""

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        kubectl = self._folder / "kubectl"
        cases = "\n".join(f"{answer} ;;" for answer in self._answers)
        kubectl.write_text(f'#!/bin/bash\necho "$*" >>"{self._folder}/asked"\ncase "$*" in\n{cases}\nesac\n')
        kubectl.chmod(0o755)
        path = f"{self._folder}:{os.environ['PATH']}"
        return subprocess.run(
            [CHECKOUT / script, *arguments], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def test_who_may_not_look_is_not_told_that_nothing_is_left(cluster: Cluster) -> None:
    cluster.answers('*" get "*', FORBIDDEN)
    done = cluster.run("clear_all_k3s.sh", "mlops", "--yes", "--data")
    assert done.returncode == 1 and "Nothing of the platform is left" not in done.stdout
    assert "cannot be seen" in done.stderr and "Clear again" in done.stderr
    assert " delete " not in cluster.asked()


def test_a_cluster_that_goes_away_has_not_lost_its_namespace(cluster: Cluster) -> None:
    cluster.answers('"get namespace mlops"*', AWAY)
    for script in ("clear_all_k3s.sh", "monitor_all.sh"):
        done = cluster.run(script, "mlops")
        assert done.returncode == 1, script
        assert "There is no namespace" not in done.stdout + done.stderr
        assert "Unable to connect" in done.stderr


def test_a_namespace_whose_content_is_half_seen_stays(cluster: Cluster) -> None:
    """Its API says only a part of the kinds that it has, as when an aggregated API is down."""
    cluster.answers('*"get namespace mlops --ignore-not-found"*', "echo modelyard")
    cluster.answers('"api-resources"*', "echo configmaps; exit 1")
    done = cluster.run("clear_all_k3s.sh", "mlops", "--yes", "--data")
    assert done.returncode == 1 and "stays" in done.stderr
    assert "delete --ignore-not-found --wait --timeout=180s namespace" not in cluster.asked()


def test_what_does_not_go_is_listed_in_the_end(cluster: Cluster) -> None:
    cluster.answers('*" get deployments.apps,"*', "echo deployment.apps/fastapi-mlops-api")
    cluster.answers('*" delete "*', 'echo "error: timed out waiting for the condition" >&2; exit 1')
    done = cluster.run("clear_all_k3s.sh", "mlops", "--yes")
    assert done.returncode == 1
    assert "These are left" in done.stderr and done.stderr.endswith("deployment.apps/fastapi-mlops-api\n")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_slip_of_the_keyboard_touches_no_cluster(script: str, cluster: Cluster) -> None:
    two = cluster.run(script, "mlops", "production")
    assert two.returncode == 1 and "One namespace at a time: mlops, or production?" in two.stderr
    wrong = cluster.run(script, "MLOps")
    assert wrong.returncode == 1 and "lower-case letters, digits and hyphens" in wrong.stderr
    assert cluster.asked() == ""
