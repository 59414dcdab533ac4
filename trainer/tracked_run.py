"""The tracked run: the one MLflow run of a job, found again however often the job is started."""

from __future__ import annotations

import importlib.metadata
import json
import logging
from pathlib import Path
from typing import Any

from trainer.addresses import shown
from trainer.checkpoints import Checkpoint
from trainer.contract import TrainerInput
from trainer.ending import TrackingUnavailable
from trainer.families.base import DataUnreadable
from trainer.sources import Fetched
from trainer.tracking import Tracking, is_passing, outages

log = logging.getLogger(__name__)

JOB_UID = "modelyard.job_uid"
DATASET_DIGEST = "modelyard.dataset_digest"
_ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
_DIGEST_CHARACTERS = 36  # MLflow's limit for a dataset's digest; the tag has it in full
_CHECKPOINT = "checkpoint"


class TrackedRun:
    """A run in MLflow and what is asked of it while training."""

    def __init__(self, tracking: Tracking, run: Any, is_new: bool) -> None:
        self.tracking = tracking
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.is_new = is_new
        self.is_finished = run.info.status == "FINISHED"

    @classmethod
    def open(cls, tracking: Tracking, letter: TrainerInput, dataset: Fetched) -> TrackedRun:
        """The job's run, made if there is none, with its parameters, tags and environment logged.

        Raises `DataUnreadable` if an earlier start of the job saw other data, `TrackingUnavailable`.
        """
        run, is_new = tracking.attempt("the run was to be opened", lambda: _find_or_create(tracking, letter, dataset))
        known = run.data.tags.get(DATASET_DIGEST, dataset.digest)
        if known != dataset.digest:
            raise DataUnreadable("The dataset has changed since this task began. Submit it as a new task.")
        opened = cls(tracking, run, is_new)
        if not opened.is_finished:
            tracking.attempt("parameters were to be logged", lambda: opened._describe(letter, dataset))
        return opened

    def last_epoch(self) -> int:
        """The newest epoch whose metrics MLflow has; 0 if none."""
        if self.is_new:
            return 0
        history = self.tracking.attempt(
            "metrics were to be read", lambda: self.tracking.client.get_metric_history(self.run_id, "progress")
        )
        return max((metric.step for metric in history), default=0)

    def fail(self, sentence: str) -> None:
        """Mark the run failed, if MLflow answers."""
        try:
            self.tracking.client.set_tag(self.run_id, "modelyard.failure", sentence)
            self.tracking.client.set_terminated(self.run_id, "FAILED")
        except outages() as error:
            log.info("The run could not be marked failed: %s", type(error).__name__)

    def upload_checkpoint(self, folder: Path) -> None:
        """Copy a checkpoint to the run's artifacts, if MLflow answers."""
        try:
            self.tracking.client.log_artifacts(self.run_id, str(folder), _CHECKPOINT)
        except outages() as error:
            log.info("The checkpoint was not copied to MLflow: %s", type(error).__name__)

    def download_checkpoint(self, folder: Path) -> Checkpoint | None:
        """The checkpoint among the run's artifacts, if it is there and whole."""
        try:
            if self.is_new or not self.tracking.client.list_artifacts(self.run_id, _CHECKPOINT):
                return None
            folder.mkdir(parents=True, exist_ok=True)
            return Checkpoint.read(Path(self.tracking.client.download_artifacts(self.run_id, _CHECKPOINT, str(folder))))
        except outages() as error:
            log.info("The run's checkpoint could not be read: %s", type(error).__name__)
            return None

    def _describe(self, letter: TrainerInput, dataset: Fetched) -> None:
        from mlflow.entities import Dataset, DatasetInput, Param

        client = self.tracking.client
        client.update_run(self.run_id, status="RUNNING")
        parameters = [Param(key, str(value)) for key, value in _parameters(letter).items()]
        client.log_batch(self.run_id, params=parameters)
        source = json.dumps({"uri": shown(letter.dataset_path)})
        data = Dataset(dataset.path.name, dataset.digest[:_DIGEST_CHARACTERS], "modelyard", source)
        client.log_inputs(self.run_id, [DatasetInput(data, [])])
        client.log_text(self.run_id, _environment(), "environment.txt")


def _find_or_create(tracking: Tracking, letter: TrainerInput, dataset: Fetched) -> tuple[Any, bool]:
    client = tracking.client
    experiment_id = _experiment(tracking, letter.experiment_name)
    if found := client.search_runs([experiment_id], f"tags.`{JOB_UID}` = '{letter.job_uid}'", max_results=1):
        return found[0], False
    tags = {
        "modelyard.task_id": letter.task_id,
        JOB_UID: letter.job_uid,
        "modelyard.profile": letter.profile,
        DATASET_DIGEST: dataset.digest,
    }
    return client.create_run(experiment_id, run_name=letter.task_id, tags=tags), True


def _experiment(tracking: Tracking, name: str) -> str:
    """Its id. Two jobs may make it at once: whoever comes second finds the first one's."""
    found = tracking.client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(tracking.client.create_experiment(name))
        except outages() as error:
            if is_passing(error) or getattr(error, "error_code", "") != _ALREADY_EXISTS:
                raise
            found = tracking.client.get_experiment_by_name(name)
    if found.lifecycle_stage != "active":
        raise TrackingUnavailable(f"The MLflow experiment {name!r} was deleted. Restore it, or choose another name.")
    return str(found.experiment_id)


def _parameters(letter: TrainerInput) -> dict[str, Any]:
    sources = {"datasetPath": shown(letter.dataset_path), "family": letter.family}
    if letter.initial_model:
        sources["initialModel"] = shown(letter.initial_model)
    return {**letter.hyperparameters, **sources}


def _environment() -> str:
    packages = {(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages, key=lambda p: str(p[0]).lower()))
