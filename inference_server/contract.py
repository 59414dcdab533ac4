"""The letter to the inference server. The server owns its definition; the gateway imports it to write the environment.

Beside it stand the facts of a model, which the gateway reads where the trainer wrote them.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from inference_server.facts import TAG, Facts
from inference_server.letter import Letter, LetterUnreadable

__all__ = ["TAG", "Facts", "LetterUnreadable", "ServerInput"]


@dataclass(frozen=True)
class ServerInput(Letter):
    """What one model server is to serve, and where.

    The model is named by `run_id` (and `logged_model_id`, where the gateway resolved it). `listen` is host:port; with
    port 0 any free port is taken and host:port is written to `address_file`. `model_cache` is a folder for downloads,
    which other servers may share; it holds at most `model_cache_bytes` (0: as many as fit).
    Into `termination_log` goes one line of JSON, `{"reason", "message"}`, if the server cannot go on; it waits for
    MLflow for `tracking_patience_seconds`. With `cpu_threads` 0 the numeric libraries decide. Requests that wait
    together are predicted together, `max_batch_rows` rows at most, while that adds no more than `batch_latency_ms` to
    any of them; with 0 every request is predicted by itself.
    """

    VARIABLE: ClassVar[str] = "MLOPS_SERVER_INPUT"

    task_id: str
    model_id: str
    family: str
    run_id: str
    tracking_uri: str
    listen: str
    model_cache: str
    termination_log: str
    logged_model_id: str | None = None
    address_file: str | None = None
    use_gpu: bool = False
    cpu_threads: int = 0
    batch_latency_ms: int = 50
    max_batch_rows: int = 1024
    model_cache_bytes: int = 0
    tracking_patience_seconds: int = 300
