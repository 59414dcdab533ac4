"""Hearing at once that a witness has ended, whoever started it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable

from app.runtimes.local.kernel import ProcessId

UNHEARD_PERIOD = 0.05


class ExitWatch:
    """Calls `ended` on the event loop when one of the watched processes ends."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._descriptors: dict[ProcessId, int] = {}

    def watch(self, processes: Iterable[ProcessId]) -> float:
        """Watch these and no others; the seconds after which to look, as one of them cannot be heard."""
        wanted = set(processes)
        for process in set(self._descriptors) - wanted:
            self._leave(process)
        for process in wanted - set(self._descriptors):
            descriptor = process.open()
            if descriptor is not None:
                self._descriptors[process] = descriptor
                asyncio.get_running_loop().add_reader(descriptor, self._hear, process)
        return float("inf") if wanted == set(self._descriptors) else UNHEARD_PERIOD

    def close(self) -> None:
        self.watch(())

    def _hear(self, process: ProcessId) -> None:
        self._leave(process)
        self._ended()

    def _leave(self, process: ProcessId) -> None:
        descriptor = self._descriptors.pop(process)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
