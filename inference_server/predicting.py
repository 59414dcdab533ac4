"""Predicting: the one way from a protocol to the model, which decides what runs where.

    return predictor.answer(request, read, write)

is all that a protocol's route needs: `read` makes rows of the request's body (`model.family.parse`), `write` makes an
`Answer` of their outputs (`model.family.render`); both may raise `Problem` or `InputUnreadable`. Cheap ones run in the
event loop, costly ones in threads, and requests that wait together are predicted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, TypeVar

from inference_server.batching import INLINE_SECONDS, Batcher, Outputs
from inference_server.cost import Cost
from inference_server.messages import Request
from inference_server.worker import Attempt, Worker

INLINE_BYTES = 64 << 10  # of a body; how long a larger one takes to read may be anything

Result = TypeVar("Result")
Read = Callable[[], Sequence[Any]]


class Predictor:
    """Call from the event loop only. What a future of these is cancelled for (its client went) is not computed."""

    def __init__(self, batcher: Batcher, reader: Worker) -> None:
        self._batcher = batcher
        self._reader = reader
        self._reading = Cost()

    def answer(self, request: Request, read: Read, write: Callable[[Outputs], Result]) -> asyncio.Future[Result]:
        """`write` of the outputs for the rows that `read` gives. Raises `TooBusy`; all else the future raises."""
        size = len(request.body)
        if size > INLINE_BYTES or self._reading.expected(size) > INLINE_SECONDS:
            return asyncio.get_running_loop().create_task(self._answer_slowly(request, read, write))
        with Attempt() as attempt:
            rows = self._read(size, read)
        if attempt.error is None:
            return self._batcher.submit(rows, write, request.deadline)
        failed: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        failed.set_exception(attempt.error)
        return failed

    async def predict(self, rows: Sequence[Any], deadline: float | None = None) -> Outputs:
        """One output a row, in order."""
        return await self._batcher.submit(rows, lambda outputs: outputs, deadline)

    async def stream(self, steps: Iterator[Result]) -> AsyncIterator[Result]:
        """Take `steps` one at a time, each in the model's thread and in turn with batches and other streams."""
        end = object()
        while (step := await self._batcher.run(lambda: next(steps, end))) is not end:
            yield step  # type: ignore[misc]

    async def _answer_slowly(self, request: Request, read: Read, write: Callable[[Outputs], Result]) -> Result:
        rows = await self._reader.start(lambda: self._read(len(request.body), read))
        return await self._batcher.submit(rows, write, request.deadline)

    def _read(self, size: int, read: Read) -> Sequence[Any]:
        start = perf_counter()
        rows = read()
        self._reading.note(size, perf_counter() - start)
        return rows
