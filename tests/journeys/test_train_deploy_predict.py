"""The main journey with real processes and a real MLflow: train, deploy, predict, and what can go wrong on the way."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard import Client, Invalid
from tests.support.gateway_process import CHECKOUT, GatewayProcess, eventually, free_port, gateway_process

pytestmark = [pytest.mark.journey, pytest.mark.xdist_group("journey"), pytest.mark.timeout(300)]
JSON = {"content-type": "application/json"}


class Journey:
    """A gateway with its own MLflow, and the run of one trained model."""

    def __init__(self, gateway: GatewayProcess, mlflow: str, folder: Path) -> None:
        self.gateway, self.mlflow, self.folder = gateway, mlflow, folder
        self.client = gateway.client
        self.run_id = ""

    def train(self, task_id: str, **changes: Any) -> None:
        body = {
            "taskId": task_id, "experimentName": "Journey", "modelProfile": "tabular_classification",
            "customModelName": "flowers", "datasetPath": str(self.folder / "flowers.csv"),
            "hyperparameters": {"numEpoch": 60, "learningRate": 0.01, "targetColumn": "species"},
        } | changes  # fmt: skip
        answer = self.client.post("/api/v1/train/jobs", json=body)
        assert answer.status_code == 202, answer.text

    def job(self, task_id: str, *words: str) -> dict[str, Any]:
        """The job's status once it is one of `words`."""
        url = f"/api/v1/train/jobs/{task_id}/status"

        def look() -> dict[str, Any] | None:
            status: dict[str, Any] = self.client.get(url).json()
            return status if status["status"] in words else None

        found: dict[str, Any] = eventually(look, 120)
        return found

    def deploy(self, task_id: str, **changes: Any) -> None:
        body = {
            "taskId": task_id, "modelId": f"model-{task_id}", "modelProfile": "tabular_classification",
            "mlflowRunId": self.run_id,
        } | changes  # fmt: skip
        body = {name: value for name, value in body.items() if value is not None}
        answer = self.client.post("/api/v1/inference/deployments", json=body)
        assert answer.status_code == 202, answer.text

    def deployment(self, task_id: str, *words: str) -> dict[str, Any]:
        url = f"/api/v1/inference/deployments/{task_id}/status"

        def look() -> dict[str, Any] | None:
            status: dict[str, Any] = self.client.get(url).json()
            return status if status["status"] in words else None

        found: dict[str, Any] = eventually(look, 120)
        return found

    def predict(self, task_id: str, data: object) -> httpx2.Response:
        return self.client.post(f"/api/v1/inference/{task_id}/predict", json={"userId": "user-1234", "data": data})


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    folder = tmp_path_factory.mktemp("journey")
    write_flowers(folder / "flowers.csv")
    port = free_port()
    with gateway_process(folder / "home", MLOPS_TRACKING__PORT=str(port)) as gateway:
        eventually(lambda: gateway.client.get("/readyz").status_code == 200, 120)
        journey = Journey(gateway, f"http://127.0.0.1:{port}", folder)
        journey.train("flowers")
        done = journey.job("flowers", "Succeeded", "Failed")
        assert done["status"] == "Succeeded", done
        journey.run_id = done["mlflowRunId"]
        journey.deploy("served")
        served = journey.deployment("served", "Ready", "Failed")
        assert served["status"] == "Ready", served
        yield journey


def write_flowers(path: Path) -> None:
    """Iris with what real tables have: a category, gaps in numbers and in categories, classes by name."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sepal length", "sepal width", "petal length", "petal width", "garden", "species"])
        for number, (row, kind) in enumerate(zip(iris.data.tolist(), iris.target.tolist(), strict=True)):
            garden = ["north", "south", ""][number % 3]
            gaps = ["" if (number + column) % 17 == 0 else value for column, value in enumerate(row)]
            writer.writerow([*gaps, garden, str(iris.target_names[kind])])


def test_the_model_has_learnt_and_says_classes_by_name(journey: Journey) -> None:
    status = journey.job("flowers", "Succeeded")
    assert status["progress"]["metrics"]["accuracy"] > 0.8
    answer = journey.predict("served", {"features": [[5.1, 3.5, 1.4, 0.2, "north"], [6.7, 3.0, 5.2, 2.3, None]]})
    assert answer.status_code == 200
    assert answer.json()["predictions"] == ["setosa", "virginica"]
    first = answer.json()["probabilities"][0]
    assert set(first) == {"setosa", "versicolor", "virginica"}
    assert sum(first.values()) == pytest.approx(1)


def test_it_is_served_compiled_and_its_status_says_so_with_what_was_measured(journey: Journey) -> None:
    facts = journey.deployment("served", "Ready")["facts"]
    assert facts["served"] == "compiled"
    assert facts["reason"].startswith("Compiled, and equal: of ")
    assert facts["peakMemoryBytes"] < 150 << 20


def test_rows_may_come_as_named_columns(journey: Journey) -> None:
    as_list = journey.predict("served", {"features": [[5.1, 3.5, 1.4, 0.2, "north"]]})
    named = {"garden": "north", "petal width": 0.2, "petal length": 1.4, "sepal width": 3.5, "sepal length": 5.1}
    assert journey.predict("served", {"features": [named]}).json() == as_list.json()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"features": [["wide", 3.5, 1.4, 0.2, "north"]]}, "sepal length"),
        ({"features": [[1.0, 2.0]]}, "5"),
        ({"features": []}, "empty"),
        ({"features": [{"petal colour": 1}]}, "petal colour"),
        ({}, "features"),
    ],
)
def test_what_the_model_cannot_read_is_422_with_its_sentence(journey: Journey, data: object, words: str) -> None:
    answer = journey.predict("served", data)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.text


def test_an_answer_later_is_the_one_that_would_have_been_given_now(journey: Journey) -> None:
    rows = [[5.1, 3.5, 1.4, 0.2, "north"], [6.7, 3.0, 5.2, 2.3, None]]
    with Client(str(journey.client.base_url)) as client:
        now = client.predict("served", features=rows)
        assert client.predict("served", features=rows, wait=10) == now
        assert client.result(client.predict_async("served", features=rows).id, timeout=30) == now
        with pytest.raises(Invalid, match="sepal length"):
            client.result(client.predict_async("served", features=[["wide", 3.5, 1.4, 0.2, "north"]]).id, timeout=30)


def test_a_body_and_its_answer_pass_byte_for_byte(journey: Journey) -> None:
    body = b'{ "data" : {"features":[[5.10, 3.5,1.4,0.2, "north" ]]} }  \n'
    through = journey.client.post("/inference/served/predict", content=body, headers=JSON)
    host, port = address(journey, "served")
    direct = httpx2.post(f"http://{host}:{port}/predict", content=body, headers=JSON)
    assert (through.status_code, through.content) == (direct.status_code, direct.content)


def test_a_model_is_deployed_by_its_alias(journey: Journey) -> None:
    alias = {"name": "flowers", "alias": "champion", "version": "1"}
    httpx2.post(f"{journey.mlflow}/api/2.0/mlflow/registered-models/alias", json=alias).raise_for_status()
    journey.deploy("by-alias", mlflowRunId=None, modelName="flowers", alias="champion")
    ready = journey.deployment("by-alias", "Ready", "Failed")
    assert (ready["status"], ready["modelVersion"], ready["mlflowRunId"]) == ("Ready", "1", journey.run_id)
    journey.client.delete("/api/v1/inference/deployments/by-alias")


def test_two_replicas_answer_and_one_is_enough(journey: Journey) -> None:
    url = "/api/v1/inference/deployments/served"
    assert journey.client.patch(url, json={"replicas": 2}).status_code == 200

    def both() -> bool:
        return bool(journey.client.get(f"{url}/status").json()["replicas"]["ready"] == 2)

    eventually(both, 120)
    journey.client.patch(url, json={"replicas": 1})
    rows = {"features": [[5.1, 3.5, 1.4, 0.2, "north"]]}
    for _ in range(50):
        assert journey.predict("served", rows).status_code == 200


def test_a_server_that_dies_is_restarted_and_callers_are_told(journey: Journey) -> None:
    os.kill(server_pid(journey, "served"), signal.SIGKILL)
    rows = {"features": [[5.1, 3.5, 1.4, 0.2, "north"]]}
    answer = journey.predict("served", rows)
    assert answer.status_code in (502, 503)
    assert answer.json()["code"] in ("replica-lost", "deployment-not-ready")
    again = eventually(lambda: (found := journey.predict("served", rows)).status_code == 200 and found, 60)
    assert again.json()["predictions"] == ["setosa"]
    assert journey.deployment("served", "Ready")["restarts"] >= 1


def test_images_are_learnt_and_served(journey: Journey) -> None:
    archive = journey.folder / "colours.zip"
    colours = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(60):
            name = list(colours)[number % 3]
            file.writestr(f"{name}/{number}.png", png(colours[name], number))
    hyperparameters = {"numEpoch": 4, "imageSize": 8, "numBatch": 8}
    profile = {"modelProfile": "image_classification"}
    journey.train("colours", datasetPath=str(archive), hyperparameters=hyperparameters, **profile)
    done = journey.job("colours", "Succeeded", "Failed")
    assert done["status"] == "Succeeded", done
    journey.deploy("colours", mlflowRunId=done["mlflowRunId"], **profile)
    assert journey.deployment("colours", "Ready", "Failed")["status"] == "Ready"
    images = [base64.b64encode(png(colour, 99)).decode() for colour in colours.values()]
    answer = journey.predict("colours", {"images": images})
    assert answer.json()["predictions"] == list(colours)
    journey.client.delete("/api/v1/inference/deployments/colours")


def test_texts_are_learnt_and_served(journey: Journey) -> None:
    table = journey.folder / "reviews.jsonl"
    good, bad = "a lovely fine happy thing", "a broken awful sad thing"
    lines = [
        json.dumps({"text": f"{words} {n}", "target": word})
        for n in range(40)
        for words, word in ((good, "good"), (bad, "bad"))
    ]
    table.write_text("\n".join(lines))
    profile = {"modelProfile": "text_classification"}
    hyperparameters = {"numEpoch": 3, "maxLength": 16, "learningRate": 0.003}
    journey.train("reviews", datasetPath=str(table), hyperparameters=hyperparameters, **profile)
    done = journey.job("reviews", "Succeeded", "Failed")
    assert done["status"] == "Succeeded", done
    journey.deploy("reviews", mlflowRunId=done["mlflowRunId"], **profile)
    assert journey.deployment("reviews", "Ready", "Failed")["status"] == "Ready"
    answer = journey.predict("reviews", {"texts": [f"{good} 7", f"{bad} 7"]})
    assert answer.json()["predictions"] == ["good", "bad"]
    journey.client.delete("/api/v1/inference/deployments/reviews")


def test_a_model_that_was_changed_after_logging_is_refused(journey: Journey) -> None:
    journey.train("tampered", customModelName="tampered", hyperparameters={"numEpoch": 1})
    run_id = journey.job("tampered", "Succeeded", "Failed")["mlflowRunId"]
    run = httpx2.get(f"{journey.mlflow}/api/2.0/mlflow/runs/get", params={"run_id": run_id}).json()["run"]
    model_id = run["outputs"]["model_outputs"][0]["model_id"]
    [folder] = (journey.gateway.home / "mlflow" / "artifacts").rglob(f"{model_id}/artifacts")
    with (folder / "modelyard.json").open("a") as card:
        card.write(" ")
    journey.deploy("tampered", mlflowRunId=run_id)
    failed = journey.deployment("tampered", "Ready", "Failed")
    assert (failed["status"], failed["reason"]) == ("Failed", "ModelUnreadable")
    assert "not those that were logged" in failed["message"]
    journey.client.delete("/api/v1/inference/deployments/tampered")


def test_bad_data_fails_the_job_with_a_sentence(journey: Journey) -> None:
    journey.train("lost", datasetPath="/no/such/file.csv")
    failed = journey.job("lost", "Succeeded", "Failed")
    assert (failed["status"], failed["reason"]) == ("Failed", "DataUnreadable")
    assert failed["termination"]["exitCode"] == 3
    assert "/no/such/file.csv" in failed["message"]
    log = journey.client.get("/api/v1/train/jobs/lost/logs").text
    assert log.rstrip().splitlines()[-1].endswith(failed["message"])


def test_a_job_goes_on_where_the_platform_stopped_it(journey: Journey) -> None:
    """Last, because it stops everything: what `yard down` and `yard up` do."""
    journey.train("long", hyperparameters={"numEpoch": 100000, "targetColumn": "species"})

    def begun() -> str | None:
        status = journey.client.get("/api/v1/train/jobs/long/status").json()
        run_id: str | None = status["mlflowRunId"]
        return run_id if (status["progress"]["percent"] or 0) > 0 else None

    run_id = eventually(begun, 120)
    gateway = journey.gateway
    gateway.stop()
    command = [sys.executable, "-m", "app.runtimes.local", "stop", "--home", str(gateway.home)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=120, capture_output=True)
    gateway.start()

    def resumed() -> bool:
        log = journey.client.get("/api/v1/train/jobs/long/logs").text
        return "esum" in log.split("checkpoint was kept", 1)[-1] if "checkpoint was kept" in log else False

    eventually(resumed, 120)
    assert journey.client.get("/api/v1/train/jobs/long/status").json()["mlflowRunId"] == run_id
    rows = {"features": [[5.1, 3.5, 1.4, 0.2, "north"]]}
    eventually(lambda: journey.predict("served", rows).status_code == 200, 120)
    journey.client.delete("/api/v1/train/jobs/long")
    assert journey.job("long", "Cancelled")["termination"]["reason"] == "Cancelled"


def png(colour: tuple[int, int, int], number: int) -> bytes:
    """A small image of nearly this colour."""
    from PIL import Image

    buffer = io.BytesIO()
    shade = tuple(min(255, value + number % 20) for value in colour)
    Image.new("RGB", (12, 12), shade).save(buffer, "PNG")
    return buffer.getvalue()


def server_pid(journey: Journey, task_id: str) -> int:
    """The process that answers for this deployment, found by the port that it listens on."""
    _, port = address(journey, task_id)
    found = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(found.split("pid=")[1].split(",")[0])


def address(journey: Journey, task_id: str) -> tuple[str, int]:
    """Where the first replica of a deployment listens."""
    attempts = journey.gateway.home.glob(f"servers/serve-{task_id}/replicas/0/attempts/*/address")
    newest = max(attempts, key=lambda one: one.stat().st_mtime)
    host, port = newest.read_text().strip().rsplit(":", 1)
    return host, int(port)
