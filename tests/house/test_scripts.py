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
            [CHECKOUT / script, *arguments], env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60,
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


NOT_FOUND = 'echo "Error from server (NotFound): no such thing" >&2; exit 1'
TAKEN = 'echo "Error from server (AlreadyExists): it exists already" >&2; exit 1'


@pytest.fixture
def bare(cluster: Cluster) -> Cluster:
    """Nothing is there yet; what is made is read and forgotten; the first apply fails, so that a deploy ends there."""
    cluster.answers('"kustomize "*', 'printf "  name: modelyard-postgres\\n  name: modelyard-s3\\n"')
    cluster.answers('*"apply "*', "exit 1")
    return cluster


def test_a_namespace_is_made_with_the_label_by_which_it_is_cleared(bare: Cluster, tmp_path: Path) -> None:
    """In one request: a deploy that is killed between two would leave a namespace that nobody clears."""
    bare.answers('"get namespace"*', NOT_FOUND)
    bare.answers('*"create -f -"', f"cat >>{tmp_path}/made")
    bare.run("deploy_all_k3s.sh", "mlops")
    made = (tmp_path / "made").read_text()
    assert "kind: Namespace\nmetadata: {name: mlops, labels: {app.kubernetes.io/part-of: modelyard}}" in made


def test_of_two_deploys_at_once_the_second_takes_the_first_ones_secrets(bare: Cluster) -> None:
    bare.answers('*"get namespace"*', NOT_FOUND)
    bare.answers('*"go-template="*', "echo")
    bare.answers('*"get secret "*', NOT_FOUND)
    bare.answers('*"create -f -"', TAKEN)
    bare.run("deploy_all_k3s.sh", "mlops")
    assert "apply -f" in bare.asked()


def test_of_two_deploys_at_once_each_makes_what_the_other_has_not(cluster: Cluster, tmp_path: Path) -> None:
    cluster.answers('"apply "*', f"[ -e {tmp_path}/once ] && exit 9; touch {tmp_path}/once; {TAKEN}")
    done = cluster.run("deploy_all_k3s.sh", "mlops", "--overlay", "external-stores")
    assert done.returncode == 1 and "(2 tries)" in done.stderr


def test_who_may_not_read_secrets_is_told_and_makes_none(bare: Cluster) -> None:
    bare.answers('*"get secret "*', FORBIDDEN)
    done = bare.run("deploy_all_k3s.sh", "mlops")
    assert done.returncode == 1 and "Whether the Secret modelyard-stores is there" in done.stderr
    assert "create" not in bare.asked() and "apply" not in bare.asked()


def test_a_timeout_is_a_number(cluster: Cluster) -> None:
    done = cluster.run("deploy_all_k3s.sh", "mlops", "--timeout", "10m")
    assert done.returncode == 1 and "--timeout takes whole seconds, not '10m'." in done.stderr


def test_a_log_takes_hold_of_no_terminal(cluster: Cluster) -> None:
    """What a program printed stands in the operator's glance, without its escape codes, NULs and endless lines."""
    cluster.answers('*"get deployments -l "*"readyReplicas"*', "true")
    cluster.answers('*"get pods -l "*"component=trainer"*', 'echo "train-a|Error|exit code 3"')
    cluster.answers('*"logs train-a --previous"*', "exit 1")
    cluster.answers('*"logs train-a --tail=5"', r"printf '\x1b]0;pwned\x07\x1b[31mred\0 alert\n%02000d\n' 0")
    said = cluster.run("monitor_all.sh", "mlops")
    assert "its program failed (exit code 3). It said last:" in said.stdout and "red alert" in said.stdout
    assert not {"\x1b", "\x07", "\0"} & set(said.stdout + said.stderr)
    assert max(map(len, said.stdout.splitlines())) < 320
    assert "null byte" not in said.stderr


def test_a_glance_at_nothing_says_how_to_bring_it_up(cluster: Cluster) -> None:
    done = cluster.run("monitor_all.sh", "mlops")
    assert done.returncode == 1 and "none; bring them up with ./deploy_all_k3s.sh mlops" in done.stdout
