"""What dies takes nothing along: the platform on a cluster whose parts are killed, frozen and restarted."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.cluster import three_calls
from tests.cluster.faults import COMMAND, UNPROVED
from tests.cluster.platform import Platform
from tests.support.gateway_process import eventually

pytestmark = [pytest.mark.xdist_group("runtime-kubernetes"), pytest.mark.timeout(900)]
RIGHT_AGAIN = 15.0  # seconds after an outage, until the status is right
RATE = 50  # predictions a second


def harm(*command: str) -> None:
    """Do this to the test cluster: `kill kube-apiserver`, say."""
    subprocess.run([COMMAND, *command], check=True, capture_output=True, timeout=120)


class Load:
    """Predictions at a steady rate, and how often each came out how."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        with httpx2.Client(timeout=30) as client:
            due = time.monotonic()
            while not self._over.is_set():
                try:
                    outcome = str(client.post(self._url, json=three_calls.PREDICT_BODY).status_code)
                except httpx2.TransportError as error:
                    outcome = repr(error)
                self.outcomes[outcome] += 1
                due = max(due + 1 / RATE, time.monotonic() - 1)
                self._over.wait(due - time.monotonic())

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.run)
            try:
                yield
            finally:
                self._over.set()
                done.result()


@pytest.fixture(scope="module")
def served(platform: Platform) -> Iterator[str]:
    """A trained model with two replicas; the URL of its predictions."""
    made = three_calls.three_calls(platform.url, "faults", platform.images["trainer"])
    assert made.get("deployment", {}).get("status") == "Ready", made
    path = "/api/v1/inference/deployments/deploy-reg-faults"
    with platform.client() as client:
        assert client.patch(path, json={"replicas": 2}).status_code == 200
        eventually(lambda: client.get(f"{path}/status").json()["message"].startswith("2 of 2"), 120)
        yield f"{platform.url}/api/v1/inference/deploy-reg-faults/predict"
        client.delete(path)


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx2.Client]:
    with platform.client() as client:
        yield client


def waiting_body(task_id: str) -> dict[str, Any]:
    """A job that never gets its place, so that hundreds cost the node nothing."""
    changes = {"taskId": task_id, "modelProfile": "nowhere"}
    body = three_calls.train_body("", "") | changes
    del body["trainerImage"]
    return body


def submit(platform: Platform, body: dict[str, Any]) -> tuple[int, list[str]]:
    """As a client does that repeats what failed: the final status, and what went wrong before."""
    troubles = []
    for _ in range(200):
        try:
            answer = httpx2.post(f"{platform.url}/api/v1/train/jobs", json=body, timeout=10)
            if answer.status_code < 500:
                return answer.status_code, troubles
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0, answer.text
            troubles.append("503")
        except httpx2.TransportError as error:
            troubles.append(type(error).__name__)
        time.sleep(0.3)
    raise AssertionError(f"{body['taskId']} was never accepted: {Counter(troubles)}")


def job_objects(platform: Platform, prefix: str) -> Counter[str]:
    """How many Jobs there are by task id."""
    found = platform.get("jobs", "-l", "app.kubernetes.io/component=trainer")["items"]
    tasks = [job["metadata"]["annotations"]["modelyard/task-id"] for job in found]
    return Counter(task for task in tasks if task.startswith(prefix))


def forget(client: httpx2.Client, names: list[str]) -> None:
    for name in names:
        client.delete(f"/api/v1/train/jobs/{name}")
    eventually(lambda: all(summary(client, name) == "Cancelled" for name in names), 120)


def summary(client: httpx2.Client, task_id: str) -> str:
    return str(client.get(f"/api/v1/train/jobs/{task_id}/status").json()["status"])


def reason(client: httpx2.Client, task_id: str) -> str:
    return str(client.get(f"/api/v1/train/jobs/{task_id}/status").json()["reason"])


@pytest.mark.skipif(not COMMAND, reason=UNPROVED)
@pytest.mark.parametrize(
    ("harmed", "healed", "seconds"),
    [
        (("kill", "kube-apiserver"), ("start", "kube-apiserver"), 60),
        (("freeze", "etcd"), ("thaw", "etcd"), 30),
    ],
    ids=["the-api-server-killed", "etcd-frozen"],
)
def test_without_a_control_plane_predictions_go_on_and_submits_are_kept(
    platform: Platform,
    client: httpx2.Client,
    served: str,
    harmed: tuple[str, ...],
    healed: tuple[str, ...],
    seconds: float,
) -> None:
    """A submit is kept in the store: it is accepted in the outage too, and launched after it. Repeating it is safe."""
    name = f"outage-{harmed[1]}"
    url = platform.url
    load = Load(served)
    with load.going_on():
        began = time.monotonic()
        harm(*harmed)
        try:
            submitted = [post(url, waiting_body(name)) for _ in range(2)]
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
        finally:
            harm(*healed)
        eventually(lambda: serves_again(platform), 60)
        again = time.monotonic()
        eventually(lambda: job_objects(platform, name), 120, lambda: reason(client, name))
        late = time.monotonic() - again
        eventually(lambda: reason(client, name) == "Unschedulable", 120, lambda: reason(client, name))
        time.sleep(2)
    print(f"{name}: predictions {dict(load.outcomes)}, submits {submitted}, launched {late:.1f} s after its end")
    assert set(load.outcomes) == {"200"}
    assert submitted == [202, 200]
    assert job_objects(platform, name) == {name: 1}
    assert late < RIGHT_AGAIN
    forget(client, [name])


def serves_again(platform: Platform) -> bool:
    try:
        return platform.kubectl("get", "--raw", "/readyz") == "ok"
    except AssertionError:
        return False


def post(url: str, body: dict[str, Any]) -> int:
    return httpx2.post(f"{url}/api/v1/train/jobs", json=body, timeout=30).status_code


def test_a_gateway_that_is_killed_twenty_times_loses_and_doubles_nothing(
    platform: Platform, client: httpx2.Client
) -> None:
    names = [f"killed-{number:03}" for number in range(200)]
    over = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        killer = pool.submit(kill_gateways, platform, 20, over)
        accepted = list(pool.map(lambda name: paced(platform, name), names))
        killed = killer.result()
    troubles = Counter(trouble for _, found in accepted for trouble in found)
    print(f"{killed} gateways killed, {len(accepted)} submits, of them repeated {dict(troubles)}")
    assert killed == 20
    assert {status for status, _ in accepted} <= {200, 202}
    eventually(lambda: len(job_objects(platform, "killed-")) == 200, 120, lambda: job_objects(platform, "killed-"))
    assert set(job_objects(platform, "killed-").values()) == {1}
    assert listed(client, "killed-") == names
    forget(client, names)


def paced(platform: Platform, name: str) -> tuple[int, list[str]]:
    """Slowly enough that the submits last as long as the killing."""
    time.sleep(1.2)
    return submit(platform, waiting_body(name))


def kill_gateways(platform: Platform, times: int, over: threading.Event) -> int:
    """One after the other, each as soon as one runs; without a warning."""
    label = ("-l", "app.kubernetes.io/component=gateway")
    for number in range(times):
        pods = eventually(lambda: running(platform, *label), 120)
        platform.kubectl("delete", "pod", pods[number % len(pods)], "--grace-period=0", "--force", "--wait=false")
        over.wait(2.0)
    return times


def running(platform: Platform, *label: str) -> list[str]:
    pods = platform.get("pods", *label)["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and all(one["ready"] for one in pod["status"].get("containerStatuses", [{"ready": False}]))
    ]


def listed(client: httpx2.Client, prefix: str) -> list[str]:
    """The task ids of all pages, sorted."""
    found, token = [], ""
    while True:
        page = client.get("/api/v1/train/jobs", params={"pageSize": 100, "pageToken": token}).json()
        found += [item["taskId"] for item in page["items"] if item["taskId"].startswith(prefix)]
        token = page["nextPageToken"]
        if not token:
            return sorted(found)


def test_postgresql_restarted_loses_no_task_and_no_prediction(
    platform: Platform, client: httpx2.Client, served: str
) -> None:
    names = [f"stored-{number:02}" for number in range(40)]
    load = Load(served)
    with load.going_on(), ThreadPoolExecutor(4) as pool:
        accepted = pool.map(lambda name: submit(platform, waiting_body(name)), names)
        platform.kubectl("delete", "pod", "modelyard-postgres-0", "--grace-period=0", "--force", "--wait=false")
        outcomes = list(accepted)
        eventually(lambda: len(job_objects(platform, "stored-")) == len(names), 120)
    troubles = Counter(trouble for _, found in outcomes for trouble in found)
    print(f"PostgreSQL restarted: predictions {dict(load.outcomes)}, submits repeated {dict(troubles)}")
    assert set(load.outcomes) == {"200"}
    assert set(job_objects(platform, "stored-").values()) == {1}
    assert listed(client, "stored-") == names
    forget(client, names)


def test_a_job_deleted_by_hand_stays_deleted_and_says_so(platform: Platform, client: httpx2.Client) -> None:
    assert post(platform.url, waiting_body("by-hand")) == 202
    eventually(lambda: reason(client, "by-hand") == "Unschedulable", 60)
    platform.kubectl("delete", "job", "train-by-hand")
    eventually(lambda: summary(client, "by-hand") == "Failed", 60)
    status = client.get("/api/v1/train/jobs/by-hand/status").json()
    assert "deleted" in json.dumps(status) or "removed" in json.dumps(status), status
    assert job_objects(platform, "by-hand") == {}
