"""The platform on a cluster, as an operator and a user meet it: deploy, the published calls, GPUs, scale, clear."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.cluster import three_calls
from tests.cluster.platform import Platform
from tests.support.gateway_process import eventually

# one cluster and two GPUs, so one test after the other; the first builds the images
pytestmark = [pytest.mark.xdist_group("runtime-kubernetes"), pytest.mark.timeout(1800)]
GPU = "nvidia.com/gpu"


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx2.Client]:
    with platform.client() as client:
        yield client


def conditions(client: httpx2.Client, task_id: str) -> dict[str, Any]:
    status: dict[str, Any] = client.get(f"/train/jobs/{task_id}/status").json()
    return status


def check_calls(made: dict[str, Any]) -> None:
    assert made["job"]["status"] == "Succeeded", made
    assert made["deployment"]["status"] == "Ready", made
    assert len(made["answer"]["predictions"]) == 1
    print(made["seconds"])


def test_the_published_calls_work_from_outside(platform: Platform) -> None:
    check_calls(three_calls.three_calls(platform.url, "01", platform.images["trainer"]))


def test_the_published_calls_work_from_inside(platform: Platform) -> None:
    """From a pod, by the gateway's name."""
    script = (three_calls.__file__, "http://fastapi-mlops-api-service", "02", platform.images["trainer"])
    made = in_a_pod(platform, "caller", *script)
    check_calls(json.loads(made.splitlines()[-1]))


def in_a_pod(platform: Platform, name: str, file: str, *arguments: str) -> str:
    """What a program says that runs in a pod of its own."""
    with open(file) as program:
        command = ["python", "-c", program.read(), *arguments]
    image = ("--image", platform.images["gateway"], "--image-pull-policy", "IfNotPresent")
    platform.kubectl("run", name, *image, "--restart", "Never", "--command", "--", *command)
    try:
        eventually(lambda: phase(platform, name) in ("Succeeded", "Failed"), 200, lambda: phase(platform, name))
        said = platform.kubectl("logs", name)
        assert phase(platform, name) == "Succeeded", said
        return said
    finally:
        platform.kubectl("delete", "pod", name, "--now")


def phase(platform: Platform, pod: str) -> str:
    return str(platform.get("pod", pod)["status"]["phase"])


def test_three_replicas_answer_where_one_did(platform: Platform, client: httpx2.Client) -> None:
    url = "/api/v1/inference/deployments/deploy-reg-01"
    assert client.patch(url, json={"replicas": 3}).status_code == 200
    eventually(lambda: client.get(f"{url}/status").json()["message"].startswith("3 of 3"), 120)
    pods = platform.get("pods", "-l", "app.kubernetes.io/instance=serve-deploy-reg-01")["items"]
    assert len([pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]) == 3
    for _ in range(30):
        answer = client.post("/api/v1/inference/deploy-reg-01/predict", json=three_calls.PREDICT_BODY)
        assert answer.status_code == 200, answer.text


def gpus_in_use(platform: Platform) -> int:
    pods = json.loads(platform.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    running = [pod for pod in pods if pod["status"]["phase"] not in ("Succeeded", "Failed")]
    containers = [container for pod in running for container in pod["spec"]["containers"]]
    return sum(int(one.get("resources", {}).get("limits", {}).get(GPU, 0)) for one in containers)


def gpu_body(task_id: str) -> dict[str, Any]:
    """Longer than any test waits."""
    hyperparameters = {"numEpoch": 100_000}
    changes = {"taskId": task_id, "modelProfile": "gpu_regression", "useGpu": True, "hyperparameters": hyperparameters}
    body = three_calls.train_body("gpu", "") | changes
    del body["trainerImage"]
    return body


def test_a_third_gpu_job_waits_in_words_and_starts_when_a_gpu_frees(platform: Platform, client: httpx2.Client) -> None:
    eventually(lambda: gpus_in_use(platform) == 0, 300, lambda: "somebody else holds the cluster's GPUs")
    names = ("gpu-1", "gpu-2", "gpu-3")
    try:
        for name in names:
            assert client.post("/api/v1/train/jobs", json=gpu_body(name)).status_code == 202
        found = eventually(lambda: waiting_for_a_gpu(client, names), 60, lambda: [conditions(client, n) for n in names])
        assert "0 of 2 are free" in found["message"]
        for pod in platform.get("pods", "-l", "modelyard/profile=gpu_regression")["items"]:
            assert pod["spec"]["containers"][0]["resources"]["limits"][GPU] == "1"
        first = next(name for name in names if name != found["taskId"])
        assert client.delete(f"/api/v1/train/jobs/{first}").status_code == 202
        eventually(lambda: conditions(client, found["taskId"])["status"] == "Running", 90)
    finally:
        for name in names:
            client.delete(f"/api/v1/train/jobs/{name}")
        eventually(lambda: gpus_in_use(platform) == 0, 120)


def waiting_for_a_gpu(client: httpx2.Client, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The one job that has no GPU, once the others run."""
    found = [conditions(client, name) for name in names]
    waiting = [one for one in found if one["reason"] == "Unschedulable"]
    running = [one for one in found if one["status"] == "Running"]
    return waiting[0] if len(running) == 2 and len(waiting) == 1 else None


def test_the_gateway_may_do_what_its_role_says_and_no_more(platform: Platform) -> None:
    gateway = f"--as=system:serviceaccount:{platform.namespace}:modelyard-gateway"
    answers = {
        "create jobs.batch": "yes", "patch deployments.apps": "yes", "watch pods": "yes", "list events": "yes",
        "get secrets": "no", "create pods": "no", "get configmaps": "no", "create pods/exec": "no",
        "update deployments.apps": "no", "create rolebindings.rbac.authorization.k8s.io": "no",
    }  # fmt: skip
    command = ("sh", "-c", 'kubectl auth can-i "$@" || true', "can-i")
    for asked, answer in answers.items():
        said = platform._run(*command, *asked.split(), gateway, "-n", platform.namespace, timeout=30)
        assert said.strip() == answer, asked


def test_another_deploy_changes_nothing_and_tells_no_secret(platform: Platform) -> None:
    before = standing(platform)
    said = platform.deploy()
    assert standing(platform) == before
    assert "Ready after" in said and "made: modelyard-stores" not in said
    data = platform.get("secret", "modelyard-stores")["data"]
    assert data["MLOPS_STORE__URL"] not in said and data["POSTGRES_PASSWORD"] not in said


def standing(platform: Platform) -> dict[str, Any]:
    """What must be the same after another deploy: the pods, what they are made of, and the passwords."""
    pods = platform.get("pods", "-l", "app.kubernetes.io/part-of=modelyard,app.kubernetes.io/component!=setup")
    kept = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods["items"]}
    settings = platform.kubectl("get", "configmaps", "-l", "app.kubernetes.io/part-of=modelyard", "-o", "name")
    return {"pods": kept, "secret": platform.get("secret", "modelyard-stores")["data"], "settings": settings}


def test_a_glance_shows_components_jobs_and_deployments(platform: Platform) -> None:
    said = platform.script("monitor_all.sh")
    assert "fastapi-mlops-api      ready      2 of 2" in said
    assert "train-reg-01" in said and "deploy-reg-01" in said


def test_nothing_is_left_after_clearing_but_the_data_which_another_deploy_finds(platform: Platform) -> None:
    began = time.monotonic()
    said = platform.script("clear_all_k3s.sh", "--yes")
    print(said, f"cleared in {time.monotonic() - began:.0f} s")
    assert "Nothing of the platform is left" in said
    assert platform.kubectl("get", "all,ingresses,poddisruptionbudgets,roles,rolebindings") == ""
    secrets = platform.kubectl("get", "secrets", "-o", "name").split()
    assert [name for name in secrets if "default-token" not in name] == ["secret/modelyard-stores"]
    print(platform.deploy())
    platform.store_dataset()
    with platform.client() as client:
        assert conditions(client, "train-reg-01")["status"] == "Succeeded"
