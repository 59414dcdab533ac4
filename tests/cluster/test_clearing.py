"""What clearing takes and what it spares, in a namespace with no platform in it: as after a deploy that was killed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.images import CHECKOUT
from tests.cluster.namespaces import NAMESPACE, cluster_settings
from tests.support import kubectl

pytestmark = pytest.mark.xdist_group("runtime-kubernetes")
OURS = {"app.kubernetes.io/part-of": "modelyard"}


@dataclass(frozen=True)
class Place:
    """A namespace such as a deploy makes."""

    name: str

    def run(self, *command: str, stdin: str = "") -> str:
        environment = {**os.environ, "KUBECONFIG": str(cluster_settings().kubeconfig)}
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "error" not in done.stderr, done.stdout + done.stderr
        return done.stdout

    def make(self, kind: str, name: str, labels: dict[str, str], **more: object) -> None:
        meta = {"name": name, "labels": labels}
        made = {"apiVersion": "v1", "kind": kind, "metadata": meta, **more}
        self.run("kubectl", "apply", "-n", self.name, "-f", "-", stdin=json.dumps(made))

    def has(self, kind: str, name: str) -> bool:
        return self.run("kubectl", "get", kind, name, "-n", self.name, "--ignore-not-found", "-o", "name") != ""

    def clear(self) -> str:
        return self.run(str(CHECKOUT / "clear_all_k3s.sh"), self.name, "--yes", "--data")


@pytest.fixture
def place() -> Iterator[Place]:
    if not kubectl.renders():
        pytest.skip(kubectl.UNPROVED)
    place = Place(f"{NAMESPACE}-clearing")
    place.make("Namespace", place.name, OURS)
    yield place
    place.run("kubectl", "delete", "namespace", place.name, "--ignore-not-found")


def test_a_namespace_with_somebodys_things_of_any_kind_stays_with_them(place: Place) -> None:
    place.make("LimitRange", "theirs", {}, spec={"limits": [{"type": "Pod", "max": {"cpu": "4"}}]})
    place.make("ConfigMap", "modelyard-settings-old", OURS)
    said = place.clear()
    assert "limitrange/theirs" in said and "stays" in said
    assert place.has("namespace", place.name) and place.has("limitrange", "theirs")
    assert not place.has("configmap", "modelyard-settings-old")


def test_a_namespace_that_somebody_else_made_stays_without_a_word(place: Place) -> None:
    place.run("kubectl", "label", "namespace", place.name, "app.kubernetes.io/part-of-")
    assert place.clear() == f"Nothing of the platform is left in the namespace {place.name}.\n"
    assert place.has("namespace", place.name)


def test_a_volume_that_no_claim_was_bound_to_goes_and_a_neighbours_stays(place: Place) -> None:
    """A deploy was killed before its stores were made."""
    spec = {
        "storageClassName": "manual",
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/tmp/{place.name}"},
    }
    mine, neighbours = f"modelyard-s3-{place.name}", f"modelyard-s3-other-{place.name}"
    for name in (mine, neighbours):
        place.make("PersistentVolume", name, OURS, spec=spec)
    try:
        assert "The namespace" in place.clear()
        assert not place.has("persistentvolume", mine)
        assert place.has("persistentvolume", neighbours)
        assert not place.has("namespace", place.name)
    finally:
        place.run("kubectl", "delete", "persistentvolume", mine, neighbours, "--ignore-not-found")
