"""Interruption: what SIGTERM and SIGINT do to a training run, gently first and at once the second time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EPOCH_PATIENCE_SECONDS = 5.0  # an epoch that takes longer is abandoned; the checkpoint before it counts


class Interrupted(BaseException):
    """The process was told to stop; the sentence says what was kept."""


class Interruption:
    """The first signal raises `Interrupted` where the main thread stands, but not within `deferred`.

    There it sets `asked`, and raises only if that is not answered within `EPOCH_PATIENCE_SECONDS`. The second signal
    calls `at_once` and ends the process with exit code 1.
    """

    def __init__(self, at_once: Callable[[], None]) -> None:
        self.asked = False
        self.sentence = "Stopped before training began."  # what `Interrupted` says if it is raised now
        self._at_once = at_once
        self._deferred = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        signal.signal(signal.SIGALRM, self._raise)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
            self.answer()

    def answer(self) -> None:
        """Call off the alarm: the caller is about to stop by itself."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._at_once()
            os._exit(1)
        self.asked = True
        if not self._deferred:
            self._raise(number, frame)
        signal.setitimer(signal.ITIMER_REAL, EPOCH_PATIENCE_SECONDS)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        raise Interrupted(self.sentence)
