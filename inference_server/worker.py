"""Running a model's code: in a thread of its own, or at once; what it raises is handed over, not thrown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

Result = TypeVar("Result")


class Worker:
    """A thread that runs one piece of work at a time, in order: a model is not safe for several threads."""

    def __init__(self, name: str = "model") -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def start(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Call from the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work)


class Attempt:
    """`with Attempt() as attempt:` keeps what goes wrong inside in `attempt.error`, whatever a model may raise."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None
