"""A real MLflow for all journeys of the trainer, and jobs that run against it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow import MlflowServer
from tests.trainer.jobs import Job

Start = Callable[..., Job]


@pytest.fixture(scope="session")
def mlflow_for_trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def mlflow(mlflow_for_trainer: MlflowServer) -> MlflowServer:
    return mlflow_for_trainer.start_again()


@pytest.fixture
def job(tmp_path: Path, mlflow: MlflowServer) -> Iterator[Callable[..., Job]]:
    """Makes jobs that log to the real MLflow; what still runs at the end is killed."""
    made: list[Job] = []

    def make(dataset: object, **fields: Any) -> Job:
        uid = uuid.uuid4().hex
        made.append(Job(tmp_path / uid, uid, str(dataset), mlflow.url, **fields))
        return made[-1]

    yield make
    for one in made:
        one.kill()
