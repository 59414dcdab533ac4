"""The whole platform on the test cluster, deployed once a session by its own script into a namespace of its own."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.cluster.images import CHECKOUT, built_images
from tests.cluster.namespaces import NAMESPACE, cluster_settings
from tests.support import kubectl
from tests.support.gateway_process import eventually

DATASET = "house-prices.csv"
_STAGES = (("training", "trainer", "500m"), ("serving", "inference", "200m"))


@dataclass(frozen=True)
class Platform:
    """`images` are full names by short ones (gateway, mlflow, trainer, inference); `overlay` is what is deployed."""

    namespace: str
    overlay: Path
    images: Mapping[str, str]
    environment: Mapping[str, str]

    def kubectl(self, *arguments: str, timeout: float = 60) -> str:
        return self._run("kubectl", "--namespace", self.namespace, *arguments, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def script(self, name: str, *arguments: str, timeout: float = 900) -> str:
        """One of the scripts of the checkout's root, and what it says."""
        return self._run(str(CHECKOUT / name), self.namespace, *arguments, timeout=timeout)

    def deploy(self) -> str:
        profiles = str(self.overlay / "model_profiles.yaml")
        options = ("--overlay", str(self.overlay), "--profiles", profiles, "--registry", "localhost")
        return self.script("deploy_all_k3s.sh", *options, "--timeout", "600")

    def address(self, service: str) -> str:
        """Of a Service, as this machine reaches it; it changes when the platform is deployed anew."""
        spec = self.get("service", service)["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    @property
    def url(self) -> str:
        return self.address("fastapi-mlops-api-service")

    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60)

    def store_dataset(self) -> None:
        """The shipped table, where the published example looks for it."""
        import boto3

        client = boto3.client(
            "s3", endpoint_url=self.address("modelyard-s3"), region_name="us-east-1", aws_access_key_id="any",
            aws_secret_access_key="any",
        )  # fmt: skip
        client.put_object(Bucket="datasets", Key=DATASET, Body=house_prices().encode())
        client.close()

    def _run(self, *command: str, timeout: float) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def house_prices() -> str:
    """Eight measurements of each of 442 patients, from scikit-learn: a table that needs no network."""
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(scaled=False)
    rows = [[*features[:8], target] for features, target in zip(loaded.data, loaded.target, strict=True)]
    text = io.StringIO()
    csv.writer(text).writerows([[*loaded.feature_names[:8], "target"], *rows])
    return text.getvalue()


def profiles(images: Mapping[str, str]) -> str:
    """The regression as it is shipped, small enough for the node; the same with a GPU, of which it makes no use; and
    the same for a node that there is not.
    """
    shipped = yaml.safe_load((CHECKOUT / "model_profiles.yaml").read_text())["profiles"]["tabular_regression"]

    def small(gpu: int) -> dict[str, Any]:
        stages = {
            stage: {
                "image": images[image].partition("/")[2],
                "cpu": "100m" if gpu else cpu,
                "memory": "1Gi",
                "gpu": gpu,
            }
            for stage, image, cpu in _STAGES
        }
        return shipped | stages

    nowhere = small(0)
    nowhere["training"]["nodeSelector"] = {"modelyard/nowhere": "true"}
    named = {"tabular_regression": small(0), "gpu_regression": small(1), "nowhere": nowhere}
    return yaml.safe_dump({"profiles": named})


def _overlay(folder: Path, images: Mapping[str, str]) -> Path:
    """The overlay of test clusters with images pinned one by one."""
    base = os.path.relpath(CHECKOUT / "kubernetes" / "overlays" / "testcluster", folder)
    pinned = [_pin(f"modelyard-{name}", images[name]) for name in ("gateway", "mlflow")]
    (folder / "kustomization.yaml").write_text(json.dumps({"resources": [base], "images": pinned}))
    (folder / "model_profiles.yaml").write_text(profiles(images))
    return folder


def _pin(name: str, full: str) -> dict[str, str]:
    image, _, tag = full.rpartition(":")
    return {"name": name, "newName": image, "newTag": tag}


def _present(kubeconfig: Path) -> set[str]:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "-o", "json"]
    nodes = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["items"]
    return {name for node in nodes for image in node["status"].get("images", []) for name in image.get("names") or []}


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Deployed and ready, with the example's dataset in S3; at the end it is cleared, and its namespace is gone."""
    if not kubectl.renders():
        pytest.skip(kubectl.UNPROVED)
    kubeconfig = cluster_settings().kubeconfig
    assert kubeconfig is not None
    images = built_images(_present(kubeconfig))
    namespace = f"{NAMESPACE}-platform"
    overlay = _overlay(tmp_path_factory.mktemp("overlay"), images)
    platform = Platform(namespace, overlay, images, {"KUBECONFIG": str(kubeconfig)})
    platform.script("clear_all_k3s.sh", "--yes", "--data")
    try:
        print(platform.deploy())
        eventually(lambda: httpx2.get(f"{platform.url}/readyz", timeout=30).status_code == 200)
        platform.store_dataset()
        yield platform
    finally:
        print(platform.script("clear_all_k3s.sh", "--yes", "--data"))
        namespaces = platform.kubectl("get", "namespaces", "-o", "name").split()
        assert f"namespace/{namespace}" not in namespaces, "the namespace outlived what was in it"
