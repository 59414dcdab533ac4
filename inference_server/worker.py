"""One thread for the model, so that health checks are answered while it loads or predicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from inference_server.problems import TooBusy

MOST_WAITING = 256

Result = TypeVar("Result")


class Worker:
    """Runs one piece of work at a time, in order: a model is not safe for several threads."""

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._most_waiting = most_waiting
        self._waiting = 0

    def start(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Call from the event loop. Raises `TooBusy` rather than queue without end."""
        if self._waiting >= self._most_waiting:
            raise TooBusy(f"{self._waiting} requests wait for the model already. Try again shortly.")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: asyncio.Future[Result]) -> None:
        self._waiting -= 1
