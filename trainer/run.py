"""The run: fetch, prepare, fit, prove, log, register; each step is taken up again where an earlier start stopped."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from trainer.checkpoints import Checkpoints
from trainer.contract import LetterUnreadable, TrainerInput
from trainer.epochs import Epochs
from trainer.families.base import DataUnreadable, Family, TrainingFailed, family_class
from trainer.initial_model import fetch_initial
from trainer.interruption import Interruption
from trainer.journal import Journal
from trainer.memory import ensure_fits, ensure_images_fit
from trainer.metrics import MetricSender
from trainer.package import Package
from trainer.registration import register, registered_version
from trainer.sources import Fetched, fetch
from trainer.tracked_run import TrackedRun
from trainer.tracking import Tracking

log = logging.getLogger(__name__)


def train(letter: TrainerInput, interruption: Interruption) -> str:
    """Do what is left to do of the job; the closing sentence. Everything that `Ending.of` knows may be raised."""
    interruption.sentence = "Stopped before an epoch was done; the same task starts again."
    work = Path(letter.work_dir)
    work.mkdir(parents=True, exist_ok=True)
    dataset = fetch(letter.dataset_path, work / "dataset")
    run = TrackedRun.open(Tracking(letter.tracking_uri, letter.tracking_patience_seconds), letter, dataset)
    if run.is_finished and (version := registered_version(run, letter.model_name)):
        return f"This job was done before: it registered {letter.model_name} version {version}."
    try:
        return _Start(letter, work, run, interruption).finish(dataset)
    except (DataUnreadable, TrainingFailed) as error:
        run.fail(str(error))
        raise


class _Start:
    """One start of a job whose run in MLflow is open."""

    def __init__(self, letter: TrainerInput, work: Path, run: TrackedRun, interruption: Interruption) -> None:
        self._letter = letter
        self._work = work
        self._run = run
        self._interruption = interruption
        self._journal = Journal(work / "epochs.jsonl")
        self._sender = MetricSender(run.tracking, run.run_id)
        self._checkpoints = Checkpoints(work / "checkpoints", run.upload_checkpoint)
        self._logged = run.last_epoch()

    def finish(self, dataset: Fetched) -> str:
        trained = Package.find(self._work / "trained")
        if trained:
            self._send_again(trained.epochs)
        else:
            trained = self._fit(dataset)
        self._interruption.sentence = "Stopped while the model was being logged; the same task goes on from there."
        self._sender.flush()
        version = register(self._run, trained, self._letter.model_name)
        for name in ("dataset", "initial", "checkpoints", "trained"):
            shutil.rmtree(self._work / name, ignore_errors=True)
        return f"{trained.sentence()}; registered {self._letter.model_name} version {version}."

    def _fit(self, dataset: Fetched) -> Package:
        self._ensure_fits(dataset.path)
        family = self._family()
        family.prepare(dataset.path, self._initial())
        done = self._resume(family)
        self._send_again(done)
        epochs = Epochs(family, self._journal, self._sender, self._checkpoints)
        last = epochs.run(done, self._logged, self._interruption)
        self._interruption.sentence = (
            "Stopped before the model was saved; the same task goes on from its last checkpoint."
        )
        return Package.build(family, last, self._work / "trained")

    def _ensure_fits(self, dataset: Path) -> None:
        if dataset.is_file():
            ensure_fits(dataset, self._letter.memory_limit_bytes)
        elif "imageSize" in self._letter.hyperparameters:
            ensure_images_fit(dataset, self._letter.hyperparameters["imageSize"], self._letter.memory_limit_bytes)

    def _family(self) -> Family:
        device = "cuda" if self._letter.use_gpu else "cpu"
        try:
            family: Family = family_class(self._letter.family)(self._letter.hyperparameters, device)
        except KeyError as error:
            raise LetterUnreadable(f"The letter lacks the hyperparameter {error}.") from error
        except (TypeError, ValueError) as error:
            raise LetterUnreadable(f"A hyperparameter in the letter is wrong: {error}") from error
        return family

    def _initial(self) -> Path | None:
        source = self._letter.initial_model
        return fetch_initial(self._run.tracking, source, self._work / "initial") if source else None

    def _resume(self, family: Family) -> int:
        """Take up the newest checkpoint, if there is one; the number of epochs that are done."""
        found = self._checkpoints.latest() or self._run.download_checkpoint(self._work / "checkpoints" / "downloaded")
        if found is None:
            return 0
        family.resume(found.state)
        log.info("Resumed after epoch %d of %d.", found.epoch, found.of)
        return found.epoch

    def _send_again(self, done: int) -> None:
        """What the journal holds of the epochs that are done, and MLflow may have missed."""
        for entry in self._journal.rewind(done):
            if entry.epoch > self._logged:
                self._sender.send(entry)
