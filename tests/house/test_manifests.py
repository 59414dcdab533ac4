"""The platform's manifests: valid for every cluster that we support, locked down, and found again by the script that
clears. They are rendered by the deploy script itself, for each overlay and each optional component.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.core.profiles import Profiles
from app.core.settings import unknown_variables
from tests.support import kubectl

CHECKOUT = Path(__file__).resolve().parents[2]
KUBERNETES = CHECKOUT / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
OPTIONAL = ["ingress-traefik", "network-policy", "nodes", "service-reach"]
STORES = {"minio": "quay.io/minio/minio", "seaweedfs": "chrislusf/seaweedfs", "rustfs": "rustfs/rustfs"}
WORKLOADS = ("Deployment", "StatefulSet", "Job")
NOT_IN_SCHEMAS = {("policy/v1beta1", "PodDisruptionBudget")}  # of the test cluster, which is that old
OWNS_HOST_FOLDER = "own-the-volume"  # on the test cluster only, whose volumes are folders of its node

Manifest = dict[str, Any]

pytestmark = pytest.mark.skipif(not kubectl.renders(), reason=kubectl.UNPROVED)


@cache
def rendered(overlay: str, *components: str) -> list[Manifest]:
    options = [option for one in components for option in ("--with", one)]
    command = [CHECKOUT / "deploy_all_k3s.sh", "houses", "--overlay", overlay, "--render", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


CASES = [(overlay,) for overlay in OVERLAYS] + [("k3s", component) for component in OPTIONAL]
cases = pytest.mark.parametrize("case", CASES, ids="+".join)


def named(case: tuple[str, ...], kind: str, name: str) -> Manifest:
    return next(one for one in rendered(*case) if (one["kind"], one["metadata"]["name"]) == (kind, name))


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for one in manifests:
        if one["kind"] in WORKLOADS:
            yield one["metadata"]["name"], one["spec"]["template"]


@cases
@pytest.mark.parametrize("version", ["1.25", "1.32", "1.37"])
def test_every_manifest_is_valid(case: tuple[str, ...], version: str) -> None:
    for manifest in rendered(*case):
        if (manifest["apiVersion"], manifest["kind"]) not in NOT_IN_SCHEMAS:
            kubernetes_validate.validate(manifest, version, strict=True)


@cases
def test_every_pod_keeps_to_the_restricted_profile(case: tuple[str, ...]) -> None:
    for name, template in pods(rendered(*case)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        for container in (*spec["containers"], *spec.get("initContainers", [])):
            if (case, container["name"]) == (("testcluster",), OWNS_HOST_FOLDER):
                continue
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@cases
def test_no_pod_has_more_than_it_asks_for(case: tuple[str, ...]) -> None:
    """Neither other Services in its environment, which settings would refuse, nor a token that it does not use."""
    for name, template in pods(rendered(*case)):
        spec = template["spec"]
        assert spec["enableServiceLinks"] is False, name
        assert spec.get("serviceAccountName") or spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


@cases
def test_everything_can_be_found_again_to_be_cleared(case: tuple[str, ...]) -> None:
    """And nothing is taken by the gateway for one of its own tasks."""
    objects = rendered(*case)
    claims = [claim for one in objects for claim in one.get("spec", {}).get("volumeClaimTemplates", [])]
    for one in (*objects, *claims, *(template for _, template in pods(objects))):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "modelyard", one["metadata"]
        assert labels.get("app.kubernetes.io/managed-by") != "modelyard", one["metadata"]
    for one in objects:
        inside = one["kind"] not in ("ClusterRole", "ClusterRoleBinding", "PersistentVolume")
        assert one["metadata"].get("namespace") == "houses" if inside else one["metadata"]["name"].endswith("-houses")


@cases
def test_no_secret_is_committed(case: tuple[str, ...]) -> None:
    assert [one for one in rendered(*case) if one["kind"] == "Secret"] == []
    for _, template in pods(rendered(*case)):
        for variable in template["spec"]["containers"][0].get("env", []):
            if re.search("PASSWORD|SECRET|STORE_U|STORE__U|ACCESS_KEY", variable["name"]):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "modelyard-stores"


@cases
def test_the_gateway_knows_all_its_settings(case: tuple[str, ...]) -> None:
    """A setting that it does not know would stop it."""
    container = named(case, "Deployment", "fastapi-mlops-api")["spec"]["template"]["spec"]["containers"][0]
    settings = container["envFrom"][0]["configMapRef"]["name"]
    given = [*named(case, "ConfigMap", settings)["data"], *(variable["name"] for variable in container["env"])]
    assert unknown_variables(dict.fromkeys(given, "")) == []


def rules(role: Manifest) -> dict[str, list[str]]:
    return {"/".join(filter(None, (group, resource))): rule["verbs"] for rule in role["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"]}  # fmt: skip


GATEWAY_MAY = {
    "batch/jobs": ["get", "list", "watch", "create", "patch", "delete"],
    "apps/deployments": ["get", "list", "watch", "create", "patch", "delete"],
    "pods": ["get", "list", "watch", "patch", "delete"],
    "pods/log": ["get"],
    "events": ["list", "watch"],
}
BY_SERVICE_IT_MAY = GATEWAY_MAY | {"services": ["get", "create"], "pods/proxy": ["get"]}


def test_the_gateway_may_do_this_and_no_more() -> None:
    assert rules(named(("k3s",), "Role", "modelyard-gateway")) == GATEWAY_MAY
    assert rules(named(("k3s", "service-reach"), "Role", "modelyard-gateway")) == BY_SERVICE_IT_MAY
    assert rules(named(("k3s", "nodes"), "ClusterRole", "modelyard-nodes-houses")) == {"nodes": ["list", "watch"]}
    assert [one for one in rendered("k3s") if one["kind"].startswith("ClusterRole")] == []


def test_what_the_runtime_speaks_of_is_what_it_may_touch() -> None:
    """Its code names each kind in one way: a group and a plural."""
    room = CHECKOUT / "app" / "runtimes" / "kubernetes"
    code = "\n".join(path.read_text() for path in sorted(room.rglob("*.py")))
    spoken = {"/".join(filter(None, found)) for found in re.findall(r'\.path\("([\w/]*)", "(\w+)"', code)}
    spoken = {name.replace("/v1/", "/") for name in spoken} - {"services"}  # by its own component
    assert spoken == GATEWAY_MAY.keys() - {"pods/log"}
    assert '"log")' in code and "/api/v1/nodes" in code


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("modelyard-mlflow", True),
        ("modelyard-mlflow:5000", True),
        ("modelyard-mlflow.houses:5000", True),
        ("modelyard-mlflow.houses.svc", True),
        ("modelyard-mlflow.houses.svc.cluster.local:5000", True),
        ("localhost:5000", True),
        ("modelyard-mlflow.evil.example:5000", False),
        ("modelyard-mlflow.houses.evil.example", False),
        ("modelyard-mlflow.houses.svc.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_mlflow_answers_to_its_own_names_alone(host: str, is_ours: bool) -> None:
    """A page whose name leads to MLflow's address must not read it through somebody's browser. MLflow uses fnmatch."""
    pod = named(("k3s",), "Deployment", "modelyard-mlflow")["spec"]["template"]["spec"]
    option = next(one for one in pod["containers"][0]["command"] if one.startswith("--allowed-hosts="))
    patterns = option.partition("=")[2].replace("$(NAMESPACE)", "houses").split(",")
    assert any(fnmatch(host, pattern) for pattern in patterns) is is_ours


@pytest.mark.parametrize(("component", "image"), STORES.items())
def test_another_object_store_is_one_line(component: str, image: str, tmp_path: Path) -> None:
    parts = [KUBERNETES / "components" / name for name in ("postgres", component)]
    kustomization = {
        "resources": [_beside(tmp_path, KUBERNETES / "base")],
        "components": [_beside(tmp_path, part) for part in parts],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    store = named((str(tmp_path),), "StatefulSet", "modelyard-s3")
    assert image in store["spec"]["template"]["spec"]["containers"][0]["image"]
    for version in ("1.25", "1.32", "1.37"):
        kubernetes_validate.validate(store, version, strict=True)


def _beside(folder: Path, path: Path) -> str:
    return str(Path(*[".."] * (len(folder.resolve().parts) - 1)) / path.relative_to("/"))


def test_every_image_of_a_profile_can_be_built() -> None:
    command = [CHECKOUT / "scripts" / "images.sh", "list", "all"]
    built = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for _, profile in Profiles.read(CHECKOUT / "model_profiles.yaml").items():
        assert {profile.training.image, profile.serving.image} <= set(built)


@pytest.mark.parametrize("path", sorted((CHECKOUT / "docker").iterdir()), ids=lambda path: path.name)
def test_an_image_may_start_from_another_base_and_gives_up_root(path: Path) -> None:
    text = path.read_text()
    assert re.search(r"^ARG BASE=\S+\nFROM \$\{BASE\}$", text, re.MULTILINE)
    assert path.name == "Dockerfile.gpu-base" or "\nUSER 10001:10001\n" in text


@pytest.mark.parametrize("name", ["deploy_all_k3s.sh", "monitor_all.sh", "clear_all_k3s.sh", "scripts/images.sh"])
def test_a_script_says_how_it_is_used(name: str) -> None:
    done = subprocess.run([CHECKOUT / name, "--help"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 and f"{Path(name).name} " in done.stdout
    done = subprocess.run([CHECKOUT / name, "--no-such-option"], capture_output=True, text=True, timeout=10)
    assert done.returncode != 0 and "no option --no-such-option" in done.stderr
