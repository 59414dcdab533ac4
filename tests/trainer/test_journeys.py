"""The trainer as it is run: a process, a letter, a real MLflow."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from inference_server.card import ModelCard
from inference_server.digest import directory_digest
from inference_server.facts import Facts
from tests.support.mlflow import MlflowServer
from tests.trainer.conftest import Start
from tests.trainer.jobs import Job
from tests.trainer.tables import linear, mixed, write_csv

pytestmark = pytest.mark.journey

LONG = {"numEpoch": 400, "hiddenUnits": 16, "numBatch": 8}  # some seconds: long enough to be disturbed

ENDLESS = {"numEpoch": 2, "numBatch": 1}  # on many rows: not even one epoch is done in time


def run_of(mlflow: MlflowServer, job: Job) -> Any:
    """The job's one run; more than one, or none, fails."""
    [experiment] = [
        found["experiment_id"]
        for found in mlflow.ask("experiments/search", {"max_results": 100})["experiments"]
        if found["name"] == job.letter.experiment_name
    ]
    wanted = f"tags.`modelyard.job_uid` = '{job.letter.job_uid}'"
    found = mlflow.ask("runs/search", {"experiment_ids": [experiment], "filter": wanted})
    [run] = found["runs"]
    return run


def steps_of(mlflow: MlflowServer, run: Any, metric: str) -> list[int]:
    history = mlflow.ask("metrics/get-history", run_id=run["info"]["run_id"], metric_key=metric)
    return [int(point["step"]) for point in history["metrics"]]


def versions_of(mlflow: MlflowServer, job: Job) -> list[Any]:
    found = mlflow.ask("model-versions/search", filter=f"name='{job.letter.model_name}'")
    return list(found.get("model_versions", []))


def tags_of(tagged: Any) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in tagged["tags"]}


def artifacts_of(mlflow: MlflowServer, run: Any) -> Path:
    """The folder in which the server keeps the files of the run's logged model."""
    [output] = run["outputs"]["model_outputs"]
    experiment: str = run["info"]["experiment_id"]
    return mlflow.folder / "artifacts" / experiment / "models" / output["model_id"] / "artifacts"


def test_a_trained_model_is_in_mlflow_with_everything_that_is_known_of_it(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(linear(tmp_path / "data.csv"))
    ended = one.run()
    assert (ended.exit_code, ended.reason) == (0, "Completed")
    assert ended.message == ended.lines[-1]
    assert ended.message.startswith("Trained 5 epochs on 80 rows; r2 ")
    assert ended.message.endswith(f"on 20 held-out rows; registered {one.letter.model_name} version 1.")

    run = run_of(mlflow, one)
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == one.letter.task_id
    assert {parameter["key"] for parameter in run["data"]["params"]} >= {"numEpoch", "seed", "datasetPath"}
    tags = tags_of(run["data"])
    assert tags["modelyard.task_id"] == one.letter.task_id
    assert tags["modelyard.profile"] == "tabular_regression"
    assert tags["modelyard.dataset_digest"].startswith("sha256:")
    assert run["inputs"]["dataset_inputs"][0]["dataset"]["digest"] in tags["modelyard.dataset_digest"]
    for metric in ("progress", "train_loss", "r2", "mae", "mse"):
        assert steps_of(mlflow, run, metric) == [1, 2, 3, 4, 5]

    folder = artifacts_of(mlflow, run)
    assert directory_digest(folder) == tags["modelyard.model_digest"]
    card = ModelCard.read(folder)
    assert card.target == "target"
    assert (card.is_compiled, (folder / "model.onnx").exists()) == (True, True)
    assert card.compiled is not None and card.compiled["rows"] == 20 + 2 * 20
    mlmodel = (folder / "MLmodel").read_text()
    assert "modelyard:" in mlmodel and "sklearn:" in mlmodel and "signature:" in mlmodel
    assert json.loads((folder / "input_example.json").read_text())["columns"] == ["a", "b"]
    environment = mlflow.folder / "artifacts" / run["info"]["experiment_id"] / run["info"]["run_id"] / "artifacts"
    assert "scikit-learn==" in (environment / "environment.txt").read_text()
    [version] = versions_of(mlflow, one)
    assert version["run_id"] == run["info"]["run_id"]
    facts = Facts.from_tag(tags["modelyard.facts"])
    assert facts is not None and facts.served == "compiled" and facts.reason == card.compiled["reason"]
    assert tags_of(version)["modelyard.facts"] == tags["modelyard.facts"]


def test_a_finished_job_that_is_started_again_does_nothing(job: Start, mlflow: MlflowServer, tmp_path: Path) -> None:
    one = job(linear(tmp_path / "data.csv"))
    assert one.run().exit_code == 0
    again = one.run()
    assert again.exit_code == 0
    assert again.message == f"This job was done before: it registered {one.letter.model_name} version 1."
    assert len(versions_of(mlflow, one)) == 1


def test_a_job_killed_just_before_its_end_logs_and_registers_nothing_twice(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(linear(tmp_path / "data.csv"))
    assert one.run().exit_code == 0
    before = run_of(mlflow, one)
    mlflow.ask("runs/update", {"run_id": before["info"]["run_id"], "status": "RUNNING"})  # as a kill would leave it
    assert one.run().exit_code == 0
    after = run_of(mlflow, one)
    assert after["info"]["status"] == "FINISHED"
    assert after["outputs"] == before["outputs"]
    assert steps_of(mlflow, after, "progress") == [1, 2, 3, 4, 5]
    assert len(versions_of(mlflow, one)) == 1
    assert directory_digest(artifacts_of(mlflow, after)) == tags_of(after["data"])["modelyard.model_digest"]


def test_classes_are_learnt_from_numbers_categories_and_booleans_with_missing_values(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(mixed(tmp_path / "data.csv"), family="tabular_classification", hyperparameters={"numEpoch": 30})
    ended = one.run()
    assert ended.exit_code == 0, ended.lines
    card = ModelCard.read(artifacts_of(mlflow, run_of(mlflow, one)))
    assert card.classes == ("high", "low")
    assert [feature["kind"] for feature in card.details["features"]] == ["number", "category", "boolean"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_goes_on_from_its_checkpoint_in_the_same_run(
    job: Start, mlflow: MlflowServer, tmp_path: Path, number: signal.Signals
) -> None:
    one = job(linear(tmp_path / "data.csv"), hyperparameters=LONG).start()
    one.await_line("Epoch 1 of 400")
    one.signal(number)
    stopped = one.ended()
    assert (stopped.exit_code, stopped.reason) == (1, "Interrupted")
    assert stopped.message == stopped.lines[-1]
    epoch = int(stopped.message.split()[3])
    kept = "a checkpoint was kept and the same task resumes from it."
    assert stopped.message == f"Stopped after epoch {epoch} of 400; {kept}"
    assert 1 <= epoch < 400
    before = run_of(mlflow, one)
    assert before["info"]["status"] == "RUNNING"

    ended = one.run()
    assert ended.exit_code == 0
    assert f"Resumed after epoch {epoch} of 400." in ended.lines
    run = run_of(mlflow, one)
    assert run["info"]["run_id"] == before["info"]["run_id"]
    assert steps_of(mlflow, run, "progress") == list(range(1, 401))
    assert len(versions_of(mlflow, one)) == 1


def test_a_stopped_job_goes_on_where_its_work_folder_is_gone(job: Start, mlflow: MlflowServer, tmp_path: Path) -> None:
    one = job(linear(tmp_path / "data.csv"), hyperparameters=LONG).start()
    one.await_line("Epoch 1 of 400")
    one.signal(signal.SIGTERM)
    epoch = int(one.ended().message.split()[3])
    shutil.rmtree(one.work_dir)
    one.start()
    one.await_line(f"Resumed after epoch {epoch} of 400.")


def test_a_job_killed_in_the_middle_doubles_nothing_when_it_starts_again(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(linear(tmp_path / "data.csv"), hyperparameters={**LONG, "numEpoch": 300}).start()
    one.await_line("Epoch [2-9][0-9]+ of")
    one.signal(signal.SIGKILL)
    assert one.ended().exit_code == -signal.SIGKILL
    assert one.run().exit_code == 0
    assert steps_of(mlflow, run_of(mlflow, one), "progress") == list(range(1, 301))
    assert len(versions_of(mlflow, one)) == 1


def test_an_epoch_that_takes_too_long_is_abandoned_when_the_job_is_stopped(job: Start, tmp_path: Path) -> None:
    one = job(linear(tmp_path / "data.csv", rows=200_000), hyperparameters=ENDLESS).start()
    one.await_line("Learning from")
    one.signal(signal.SIGTERM)
    ended = one.ended()
    assert (ended.exit_code, ended.reason) == (1, "Interrupted")
    assert ended.message == "Stopped before a checkpoint could be kept; the same task starts again."


def test_a_second_signal_ends_the_job_at_once(job: Start, tmp_path: Path) -> None:
    one = job(linear(tmp_path / "data.csv", rows=200_000), hyperparameters=ENDLESS).start()
    one.await_line("Learning from")
    one.signal(signal.SIGTERM)
    one.signal(signal.SIGINT)
    ended = one.ended()
    assert (ended.exit_code, ended.reason) == (1, "Interrupted")
    assert ended.message.startswith("Stopped at once")


def test_what_mlflow_misses_while_it_is_away_arrives_when_it_is_back(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(linear(tmp_path / "data.csv"), hyperparameters=LONG).start()
    one.await_line("Epoch 1 of 400")
    mlflow.stop()
    one.await_line("Epoch 400 of 400")
    mlflow.start()
    ended = one.ended()
    assert ended.exit_code == 0, ended.lines
    run = run_of(mlflow, one)
    for metric in ("progress", "r2"):
        assert steps_of(mlflow, run, metric) == list(range(1, 401))


def test_without_mlflow_the_trained_model_waits_in_the_work_folder(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    one = job(linear(tmp_path / "data.csv"), hyperparameters=LONG, tracking_patience_seconds=1).start()
    one.await_line("Epoch 1 of 400")
    mlflow.stop()
    ended = one.ended()
    assert (ended.exit_code, ended.reason) == (1, "TrackingUnavailable")
    assert ended.message == ended.lines[-1]
    assert ended.message.startswith(f"MLflow at {mlflow.url} did not answer for 1 s")
    mlflow.start()
    again = one.run()
    assert again.exit_code == 0
    assert not [line for line in again.lines if line.startswith("Epoch")]
    assert steps_of(mlflow, run_of(mlflow, one), "progress") == list(range(1, 401))


def test_a_model_goes_on_learning_as_the_initial_model_of_another_job(
    job: Start, mlflow: MlflowServer, tmp_path: Path
) -> None:
    data = linear(tmp_path / "data.csv")
    first = job(data, hyperparameters={"numEpoch": 40, "learningRate": 0.01})
    assert first.run().exit_code == 0
    run_id = run_of(mlflow, first)["info"]["run_id"]
    folder = artifacts_of(mlflow, run_of(mlflow, first))
    addresses = [f"runs:/{run_id}/model", f"models:/{first.letter.model_name}/1", str(folder)]
    for address in addresses:
        ended = job(data, initial_model=address, hyperparameters={"numEpoch": 1}).run()
        assert ended.exit_code == 0, ended.lines
        r2 = float(ended.message.split("r2 ")[1].split()[0])
        assert r2 > 0.9, "one epoch from nothing does not get there"

    other = write_csv(tmp_path / "other.csv", "a,c,target", [f"{n},{n},{n}" for n in range(20)])
    refused = job(other, initial_model=addresses[0]).run()
    assert (refused.exit_code, refused.reason) == (3, "DataUnreadable")
    assert refused.message == (
        "The initial model has other columns than the dataset: "
        "'b' (number) is only in the model; 'c' (number) is only in the dataset."
    )
    unknown = job(data, initial_model=f"models:/{first.letter.model_name}/99").run()
    assert (unknown.exit_code, unknown.reason) == (3, "DataUnreadable")
    assert "does not exist in MLflow" in unknown.message


def test_a_pickle_is_refused_as_an_initial_model(job: Start, tmp_path: Path) -> None:
    pickle = tmp_path / "model.pkl"
    pickle.write_bytes(b"\x80\x04K\x01.")
    ended = job(linear(tmp_path / "data.csv"), initial_model=str(pickle)).run()
    assert (ended.exit_code, ended.reason) == (3, "DataUnreadable")
    assert "is a pickle" in ended.message


@pytest.mark.parametrize(
    ("header", "rows", "fields", "sentence"),
    [
        ("a,b", ["1,2"] * 20, {"hyperparameters": {"targetColumn": "price"}}, "no column 'price'"),
        ("a,target", ["1,2"] * 11 + ["1,cheap"], {}, 'data row 12 holds the text "cheap"'),
        ("a,target", ["1,2"] * 20, {"memory_limit_bytes": 100 << 20}, "of memory; 100 MiB are allowed"),
        ("a,target", ["1,x"] * 20, {"family": "tabular_classification"}, "one class only: x"),
    ],
)
def test_data_that_cannot_be_learnt_from_ends_with_exit_code_3_and_a_sentence(
    job: Start, mlflow: MlflowServer, tmp_path: Path, header: str, rows: list[str], fields: Any, sentence: str
) -> None:
    one = job(write_csv(tmp_path / "data.csv", header, rows), **fields)
    ended = one.run()
    assert (ended.exit_code, ended.reason) == (3, "DataUnreadable")
    assert sentence in ended.message
    assert ended.message == ended.lines[-1]
    assert run_of(mlflow, one)["info"]["status"] == "FAILED"
