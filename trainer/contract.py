"""The letter to the trainer. The trainer owns its definition; the gateway imports it to write the environment.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from inference_server.letter import Letter, LetterUnreadable

__all__ = ["LetterUnreadable", "TrainerInput"]


@dataclass(frozen=True)
class TrainerInput(Letter):
    """What one training run is to do.

    `dataset_path` and `initial_model` are a path, `s3://` or `http(s)://`; `initial_model` may be `runs:/` or
    `models:/` too. `job_uid` identifies the job over its restarts: the trainer finds its MLflow run again by it.
    `work_dir` survives a restart of the same job. Into `termination_log` goes one line of JSON at the end,
    `{"reason", "message"}`. `hyperparameters` have camelCase names and all defaults filled in.
    `memory_limit_bytes` is what the process may use; 0 means unknown.
    """

    VARIABLE: ClassVar[str] = "MLOPS_TRAINER_INPUT"

    task_id: str
    job_uid: str
    experiment_name: str
    profile: str
    family: str
    model_name: str
    dataset_path: str
    tracking_uri: str
    work_dir: str
    termination_log: str
    initial_model: str | None = None
    use_gpu: bool = False
    memory_limit_bytes: int = 0
    tracking_patience_seconds: int = 300
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
