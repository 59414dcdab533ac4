"""Servers for made models, without an MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inference_server.card import ModelCard
from inference_server.digest import directory_digest
from tests.fakes.mlflow_rest import FakeMlflowRest
from tests.inference_server.server_process import ServerProcess, letter, serving


def prepared(folder: Path, **example: Any) -> Path:
    """A made model whose card has an input example that can be predicted."""
    path = folder / "modelyard.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "input_example": example}))
    return folder


@contextmanager
def served(folder: Path, model: Path) -> Iterator[ServerProcess]:
    folder.mkdir()
    with FakeMlflowRest() as mlflow:
        mlflow.log(model, directory_digest(model))
        family = ModelCard.read(model).family
        with serving(folder, letter(folder, mlflow.url, family=family)) as server:
            server.await_ready()
            yield server
