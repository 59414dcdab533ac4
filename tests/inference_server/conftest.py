"""Models that are trained once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.inference_server.models import classifier, write_model

    return write_model(tmp_path_factory.mktemp("models") / "classifier", classifier())


@pytest.fixture(scope="session")
def regressor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.inference_server.models import regressor, write_model

    return write_model(tmp_path_factory.mktemp("models") / "regressor", regressor())
