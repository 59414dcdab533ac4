"""Metrics on their way to MLflow: sent in the background, a few batches a second, and kept until it has taken them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from trainer.ending import TrackingUnavailable
from trainer.journal import Entry
from trainer.tracking import FIRST_PAUSE, LONGEST_PAUSE, Tracking, is_passing, outages

PAUSE_SECONDS = 0.2  # between batches: five a second
BATCH = 1000  # metrics that MLflow takes at once


class MetricSender:
    """Sends entries in order to one run. What is sent twice is stored once: an entry carries its own time."""

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._pending: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._last_success = time.monotonic()
        self._refusal: TrackingUnavailable | None = None
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def send(self, entry: Entry) -> None:
        """Take the entry; it goes out soon. Raises `TrackingUnavailable` if MLflow has refused an earlier one."""
        with self._changed:
            if self._refusal:
                raise self._refusal
            self._pending.append(entry)
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when MLflow has everything. Raises `TrackingUnavailable` once it was away for the patience."""
        self._wait(self._tracking.patience)
        if self._refusal:
            raise self._refusal
        if self._pending:
            raise self._tracking.away("metrics were to be logged", self._tracking.patience)

    def try_flush(self, seconds: float) -> None:
        """As `flush`, for so long at most, and without complaint."""
        self._wait(seconds)

    def _wait(self, patience: float) -> None:
        began = time.monotonic()
        with self._changed:
            while self._pending and not self._refusal:
                left = max(began, self._last_success) + patience - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._refusal:
            batch = self._next_batch()
            try:
                self._tracking.client.log_batch(self._run_id, metrics=_as_metrics(batch))
            except outages() as error:
                self._failed(error)
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._sent(len(batch))
                time.sleep(PAUSE_SECONDS)
                pause = FIRST_PAUSE

    def _next_batch(self) -> list[Entry]:
        """Whole entries, so that an epoch's metrics arrive together."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending)
            batch: list[Entry] = []
            size = 0
            for entry in self._pending:
                size += len(entry.metrics)
                if batch and size > BATCH:
                    break
                batch.append(entry)
            return batch

    def _sent(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._pending.popleft()
            self._last_success = time.monotonic()
            self._changed.notify_all()

    def _failed(self, error: Exception) -> None:
        if not is_passing(error):
            with self._changed:
                self._refusal = self._tracking.refused("metrics were to be logged", error)
                self._changed.notify_all()


def _as_metrics(entries: Sequence[Entry]) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(key, value, e.at, e.epoch) for e in entries for key, value in e.metrics.items()]
