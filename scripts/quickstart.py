"""The first three calls: train a model on a real dataset, deploy it, predict. Called by quickstart.sh."""

from __future__ import annotations

import csv
import sys
import time
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from modelyard import Client, DeploymentStatus, JobPhase, JobStatus, Kind, ModelyardError, NotFound

HOLD_BACK = 3  # rows that the trainer never sees: we predict them, and know the truth
DATASET = Path(".modelyard/datasets/diabetes.csv").absolute()
NAME = "quickstart"

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    began = time.monotonic()
    names, rows = diabetes()
    write(DATASET, names, rows[:-HOLD_BACK])
    with Client() as client:
        try:
            name = free_name(client)
            run_id = train(client, f"{name}-train")
            deploy(client, name, run_id)
            show(client, name, rows[-HOLD_BACK:])
            urls(client)
        except ModelyardError as error:
            console.print(f"[red]{error}[/red]\nLook around with  .venv/bin/yard ls  and  .venv/bin/yard logs NAME")
            return 1
    console.print(f"\nFrom a running platform to a prediction: {time.monotonic() - began:.1f} s")
    return 0


def diabetes() -> tuple[list[str], list[list[float]]]:
    """442 patients: ten measurements each, and how far the disease had gone a year later (`target`)."""
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(scaled=False)
    rows = [[*features, target] for features, target in zip(loaded.data.tolist(), loaded.target.tolist(), strict=True)]
    return [*loaded.feature_names, "target"], rows


def write(path: Path, names: list[str], rows: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])


def free_name(client: Client) -> str:
    """`quickstart`, or with a number behind it where the one before was cancelled or has failed."""
    for number in count(1):
        name = NAME if number == 1 else f"{NAME}-{number}"
        try:
            phase = client.status(f"{name}-train", Kind.JOB).phase
        except NotFound:
            return name
        if phase not in (JobPhase.FAILED, JobPhase.CANCELLED):
            return name
    raise AssertionError("unreachable: numbers do not end")


def train(client: Client, task_id: str) -> str:
    job = client.train(
        task_id=task_id,
        experiment_name="Quickstart",
        model_profile="tabular_regression",
        custom_model_name="diabetes",
        dataset_path=str(DATASET),
        hyperparameters={"numEpoch": 100, "learningRate": 0.001, "numBatch": 32},
    )
    with Progress(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[what]}"), TimeElapsedColumn(),
                  console=console) as progress:  # fmt: skip
        bar = progress.add_task(f"1. Training {job.task_id}", total=100, what="")

        def follow(status: JobStatus) -> None:
            percent = status.progress.percent if status.progress else None
            progress.update(bar, completed=percent or 0, what=metrics(status) or status.phase)

        status = client.wait_for_job(task_id, timeout=300, on_progress=follow)
    if status.mlflow_run_id is None:
        raise ModelyardError("The training job has no MLflow run, so there is nothing to deploy.")
    console.print(f"   {status.message}\n   MLflow run {status.mlflow_run_id}")
    return status.mlflow_run_id


def metrics(status: JobStatus) -> str:
    newest = status.progress.metrics if status.progress else {}
    return "  ".join(f"{name} {value:.3g}" for name, value in sorted(newest.items())[:3] if value is not None)


def deploy(client: Client, name: str, run_id: str) -> None:
    client.deploy(task_id=name, model_id=name, model_profile="tabular_regression", mlflow_run_id=run_id)
    with console.status(f"2. Deploying {name}") as line:

        def follow(status: DeploymentStatus) -> None:
            line.update(f"2. Deploying {name}: {status.message}")

        status = client.wait_for_deployment(name, timeout=120, on_progress=follow)
    console.print(f"2. Deployed as {name}: {status.message}")


def show(client: Client, name: str, rows: list[list[float]]) -> None:
    answer = client.predict(name, features=[row[:-1] for row in rows])
    console.print("3. Predictions for patients that the model has never seen:")
    for row, predicted in zip(rows, answer["predictions"], strict=True):
        console.print(f"   predicted {predicted:6.1f}   true value {row[-1]:6.1f}")


def urls(client: Client) -> None:
    console.print(f"\nAPI docs  {client.url}/docs\nMLflow    {client.capabilities()['tracking']['uri']}")


if __name__ == "__main__":
    sys.exit(main())
