"""The initial model: where a warm start begins is fetched like data, or from MLflow by run or registered name."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from inference_server.card import FILE_NAME
from trainer.addresses import shown
from trainer.families.base import DataUnreadable
from trainer.sources import fetch
from trainer.tracking import Tracking, is_passing, outages

log = logging.getLogger(__name__)

_MLFLOW = ("runs:/", "models:/")


def fetch_initial(tracking: Tracking, source: str, folder: Path) -> Path:
    """The model's folder (or file, if it is none). What an earlier start fetched is used again: an alias may move.

    Raises `DataUnreadable`, `TrackingUnavailable`.
    """
    if not source.startswith(_MLFLOW):
        return _inner(fetch(source, folder, "initial model").path)
    if not folder.exists():
        draft = folder.with_name(f"{folder.name}.new")
        tracking.attempt("the initial model was to be fetched", lambda: _download(source, draft))
        draft.rename(folder)
        log.info("Fetched the initial model %s.", source)
    return _inner(folder)


def _download(source: str, draft: Path) -> None:
    import mlflow.artifacts

    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        mlflow.artifacts.download_artifacts(source, dst_path=str(draft))
    except outages() as error:
        if is_passing(error):
            raise
        raise DataUnreadable(f"The initial model {shown(source)} does not exist in MLflow.") from error


def _inner(path: Path) -> Path:
    """Through the one folder that archives often have around everything."""
    while path.is_dir() and not (path / FILE_NAME).exists():
        inside = list(path.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        path = inside[0]
    return path
