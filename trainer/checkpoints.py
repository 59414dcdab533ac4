"""Checkpoints: what a stopped or killed run goes on from, in the work folder and, as far as possible, in MLflow."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from inference_server.digest import directory_digest
from trainer.families.base import Epoch, Family

log = logging.getLogger(__name__)

_MARK = "checkpoint.json"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a family wrote into `state` after `epoch`."""

    epoch: int
    of: int
    state: Path

    @classmethod
    def read(cls, folder: Path) -> Checkpoint | None:
        """The checkpoint in `folder`; None if there is none, or an incomplete one."""
        try:
            mark = json.loads((folder / _MARK).read_text(encoding="utf-8"))
            whole = directory_digest(folder / _STATE) == mark["digest"]
            return cls(int(mark["epoch"]), int(mark["of"]), folder / _STATE) if whole else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


class Checkpoints:
    """Keeps the newest checkpoint below `folder`. Each has a folder of its own, renamed into place when complete."""

    def __init__(self, folder: Path, upload: Callable[[Path], None]) -> None:
        self._folder = folder
        self._upload = upload
        self._uploading: threading.Thread | None = None

    def latest(self) -> Checkpoint | None:
        found = (Checkpoint.read(path) for path in sorted(self._kept(), key=lambda path: -int(path.name)))
        return next((checkpoint for checkpoint in found if checkpoint), None)

    def keep(self, family: Family, epoch: Epoch) -> None:
        """Write a checkpoint, drop the older ones, and begin to upload it. A full disk is logged and no error."""
        final, draft = self._folder / str(epoch.number), self._folder / "draft"
        try:
            shutil.rmtree(draft, ignore_errors=True)
            (draft / _STATE).mkdir(parents=True)
            family.checkpoint(draft / _STATE)
            mark = {"epoch": epoch.number, "of": epoch.of, "digest": directory_digest(draft / _STATE)}
            (draft / _MARK).write_text(json.dumps(mark), encoding="utf-8")
            shutil.rmtree(final, ignore_errors=True)
            draft.rename(final)
        except OSError as error:
            log.info("No checkpoint could be kept after epoch %d: %s", epoch.number, error.strerror)
            return
        for path in self._kept():
            if path != final:
                shutil.rmtree(path, ignore_errors=True)
        self._begin_upload(final)

    def await_upload(self, seconds: float) -> None:
        if self._uploading:
            self._uploading.join(seconds)

    def _begin_upload(self, folder: Path) -> None:
        """One upload at a time. If the next checkpoint overtakes it, its digest tells that it is incomplete."""
        if self._uploading and self._uploading.is_alive():
            return
        self._uploading = threading.Thread(target=self._upload, args=(folder,), daemon=True)
        self._uploading.start()

    def _kept(self) -> list[Path]:
        return [path for path in self._folder.glob("*") if path.name.isdecimal()]
