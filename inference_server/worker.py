"""Running a model's code: in a thread of its own, or at once; what it raises is handed over, not thrown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Worker:
    """A thread that runs one piece of work at a time, in order: a model is not safe for several threads."""

    def __init__(self, name: str = "model") -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def start(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Call from the event loop."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work)


def attempted(
    work: Callable[Arguments, Result], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Result | Exception:
    """What `work` returns, or raises: a model, and a library that reads one, may raise anything."""
    try:
        return work(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return error
