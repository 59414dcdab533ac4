"""The epochs: fitting, with each epoch's metrics on their way, checkpoints in time, and an end when asked for."""

from __future__ import annotations

import logging
import math
import time

from trainer.checkpoints import Checkpoints
from trainer.families.base import Epoch, Family, TrainingFailed
from trainer.interruption import EPOCH_PATIENCE_SECONDS, Interrupted, Interruption
from trainer.journal import Entry, Journal
from trainer.metrics import MetricSender

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
LONG_EPOCH_SECONDS = EPOCH_PATIENCE_SECONDS / 2  # such an epoch may be abandoned, so the one before must be kept
LINE_SECONDS = 1.0  # between two lines about epochs
PARTING_SECONDS = 5.0  # for what is still to be sent when the process was told to stop


class Epochs:
    """Drives a prepared family to its last epoch."""

    def __init__(self, family: Family, journal: Journal, sender: MetricSender, checkpoints: Checkpoints) -> None:
        self._family = family
        self._journal = journal
        self._sender = sender
        self._checkpoints = checkpoints
        self._kept_at = self._ended_at = self._shown_at = time.monotonic()

    def run(self, done: int, logged: int, interruption: Interruption) -> int:
        """Do the epochs after `done`; those up to `logged` are not logged again. The number of the last.

        Raises `Interrupted` when a signal came: a checkpoint is kept then, unless not even one epoch was done.
        """
        try:
            with interruption.deferred():
                for epoch in self._family.epochs():
                    self._record(epoch, logged)
                    if interruption.asked:
                        interruption.answer()
                        self._keep(epoch)
                        raise Interrupted
                    if self._checkpoint_is_due():
                        self._keep(epoch)
                    done = epoch.number
        except Interrupted:
            raise Interrupted(self._parting()) from None
        return done

    def _record(self, epoch: Epoch, logged: int) -> None:
        if not math.isfinite(epoch.metrics.get("train_loss", 0.0)):
            raise TrainingFailed.diverged(epoch.number)
        metrics = {**epoch.metrics, "progress": 100 * epoch.number / epoch.of}
        entry = Entry(epoch.number, time.time_ns() // 1_000_000, metrics)
        self._journal.append(entry)
        if epoch.number > logged:
            self._sender.send(entry)
        self._show(epoch)

    def _show(self, epoch: Epoch) -> None:
        now = time.monotonic()
        if epoch.number in (1, epoch.of) or now - self._shown_at >= LINE_SECONDS:
            self._shown_at = now
            metrics = ", ".join(f"{name} {value:.4g}" for name, value in epoch.metrics.items())
            log.info("Epoch %d of %d: %s", epoch.number, epoch.of, metrics)

    def _checkpoint_is_due(self) -> bool:
        now = time.monotonic()
        took, self._ended_at = now - self._ended_at, now
        return took > LONG_EPOCH_SECONDS or now - self._kept_at > CHECKPOINT_SECONDS

    def _keep(self, epoch: Epoch) -> None:
        self._checkpoints.keep(self._family, epoch)
        self._kept_at = self._ended_at = time.monotonic()

    def _parting(self) -> str:
        log.info("Told to stop.")
        self._sender.try_flush(PARTING_SECONDS)
        self._checkpoints.await_upload(PARTING_SECONDS)
        kept = self._checkpoints.latest()
        if kept is None:
            return "Stopped before a checkpoint could be kept; the same task starts again."
        return (
            f"Stopped after epoch {kept.epoch} of {kept.of}; a checkpoint was kept and the same task resumes from it."
        )
