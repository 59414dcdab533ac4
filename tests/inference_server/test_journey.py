"""The server against a real MLflow: a model that was logged there is found, checked, served, and refused if changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_server.digest import directory_digest
from tests.inference_server.models import EXAMPLE, frame
from tests.inference_server.server_process import letter, serving
from tests.support.mlflow import MlflowServer
from trainer.contract import TrainerInput

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        yield server.start()
    finally:
        server.stop()


def logged(mlflow: MlflowServer, folder: Path, digest: str | None) -> tuple[str, str]:
    """The ids of a run and of the model that it logged."""
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelOutput

    client: Any = MlflowClient(tracking_uri=mlflow.url)
    experiment = client.create_experiment(f"experiment-{folder.name}-{digest}")
    run = client.create_run(experiment)
    tags = {} if digest is None else {"modelyard.model_digest": digest}
    model = client.create_logged_model(experiment, "model", run.info.run_id, tags=tags)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=1)])
    return run.info.run_id, model.model_id


def richer(folder: Path, target: Path) -> Path:
    """A copy of a model with what else may lie beside it: folders, an empty file, a name with a space, a large file."""
    (target / "deep" / "er").mkdir(parents=True)
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    (target / "empty").write_bytes(b"")
    (target / "deep" / "er" / "a name é.txt").write_text("x")
    (target / "deep" / "large").write_bytes(bytes(range(256)) * 20_000)
    return target


def test_a_logged_model_is_served_and_one_that_was_changed_in_the_store_is_not(
    mlflow: MlflowServer, classifier_folder: Path, tmp_path: Path
) -> None:
    folder = richer(classifier_folder, tmp_path / "model")
    digest = directory_digest(folder)
    run_id, model_id = logged(mlflow, folder, digest)
    with serving(tmp_path, letter(tmp_path, mlflow.url, run_id=run_id)) as server:
        server.await_ready()
        assert server.predict(EXAMPLE)[0] == 200
        assert server.ask("GET", "/model")[2]["loggedModelId"] == model_id
    [stored] = mlflow.folder.rglob(f"{model_id}/artifacts/model.skops")
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    other = tmp_path / "other"
    other.mkdir()
    with serving(other, letter(other, mlflow.url, run_id=run_id)) as server:
        assert server.exit_code() == 3
        assert server.termination["message"].startswith(
            f"The model's files are not those that were logged (expected {digest}, found sha256:"
        )


def test_what_is_not_there_and_what_has_no_digest_is_refused(
    mlflow: MlflowServer, classifier_folder: Path, tmp_path: Path
) -> None:
    run_id, _ = logged(mlflow, classifier_folder, None)
    for wanted, words in ((run_id, "there is no tag modelyard.model_digest"), ("0" * 32, "MLflow knows no run '000")):
        with serving(tmp_path, letter(tmp_path, mlflow.url, run_id=wanted)) as server:
            assert server.exit_code() == 3
            assert words in server.termination["message"]


def test_what_the_trainer_logs_is_served(mlflow: MlflowServer, tmp_path: Path) -> None:
    frame().assign(price=lambda f: f["income"] * 2).to_csv(tmp_path / "data.csv", index=False)
    hyperparameters = {"numEpoch": 2, "learningRate": 0.01, "numBatch": 32, "hiddenUnits": 4, "targetColumn": "price"}
    job = TrainerInput(
        task_id="task-1",
        job_uid="uid-1",
        experiment_name="journey",
        profile="tabular_regression",
        family="tabular_regression",
        model_name="houses",
        dataset_path=str(tmp_path / "data.csv"),
        tracking_uri=mlflow.url,
        work_dir=str(tmp_path / "work"),
        termination_log=str(tmp_path / "trained"),
        hyperparameters={**hyperparameters, "testFraction": 0.2, "seed": 0},
    )
    environment = {**os.environ, **job.to_env()}
    subprocess.run([sys.executable, "-m", "trainer"], env=environment, capture_output=True, timeout=120, check=True)
    experiment = mlflow.ask("experiments/get-by-name", experiment_name="journey")["experiment"]["experiment_id"]
    [run] = mlflow.ask("runs/search", {"experiment_ids": [experiment]})["runs"]
    run_id = run["info"]["run_id"]
    with serving(tmp_path, letter(tmp_path, mlflow.url, run_id=run_id, family="tabular_regression")) as server:
        server.await_ready()
        example = server.ask("GET", "/model")[2]["inputExample"]
        status, _, answer = server.ask("POST", "/predict", json.dumps({"data": example}).encode())
        assert status == 200
        assert len(answer["predictions"]) == len(example["features"])
        assert answer["target"] == "price"
