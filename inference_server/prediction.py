"""A prediction that was asked for: a future without the event loop's detour, as a small model answers in less time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Prediction(Generic[Result]):
    """One request's rows in line, and then `finish` of their outputs. Await it, or add the one callback.

    Unlike a future's, the callback is called at once when the prediction is settled.
    """

    __slots__ = ("_callback", "_outcome", "alone", "deadline", "done", "finish", "rows")

    def __init__(
        self, rows: Sequence[Any], finish: Callable[[Sequence[Any]], Result], deadline: float | None, alone: bool
    ) -> None:
        self.rows = rows
        self.finish = finish
        self.deadline = deadline
        self.alone = alone  # it shares the model with nobody
        self.done = False  # settled, or given up
        self._outcome: Result | Exception | asyncio.CancelledError | None = None
        self._callback: Callable[[Prediction[Result]], object] | None = None

    def add_done_callback(self, callback: Callable[[Prediction[Result]], object]) -> None:
        self._callback = callback

    def cancel(self) -> bool:
        """Give it up: if it still waits, it is not computed. False if it was settled already."""
        was_open = not self.done
        self.settle(asyncio.CancelledError())
        return was_open

    def cancelled(self) -> bool:
        return isinstance(self._outcome, asyncio.CancelledError)

    def settle(self, outcome: Result | Exception | asyncio.CancelledError) -> None:
        """Hand over the result, or what went wrong; only the first call counts."""
        if self.done:
            return
        self.done = True
        self._outcome = outcome
        if self._callback is not None:
            self._callback(self)

    def exception(self) -> Exception | None:
        return self._outcome if isinstance(self._outcome, Exception) else None

    def result(self) -> Result:
        """Raises what went wrong, `CancelledError` if it was given up."""
        if isinstance(self._outcome, Exception | asyncio.CancelledError):
            raise self._outcome
        return self._outcome  # type: ignore[return-value]

    def __await__(self) -> Generator[Any, None, Result]:
        if not self.done:
            settled = asyncio.Event()
            self.add_done_callback(lambda _: settled.set())
            try:
                yield from settled.wait().__await__()
            finally:
                self.cancel()
        return self.result()
