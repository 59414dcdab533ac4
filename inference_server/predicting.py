"""Predicting: the one way from a protocol to the model, which decides what runs where.

    return predictor.answer(request, read, write)

is all that a protocol's route needs: `read` makes rows of the request's body (`model.family.parse`), `write` makes an
`Answer` of their outputs (`model.family.render`); both may raise `Problem` or `InputUnreadable`. Cheap ones run in the
event loop, costly ones in threads, and requests that wait together are predicted together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from inference_server.batching import Batcher, Outputs
from inference_server.messages import Request
from inference_server.problems import TooBusy
from inference_server.worker import Worker

INLINE_BYTES = 64 << 10  # of a body; a larger one takes long to read, whatever it holds
INLINE_SECONDS = 0.0002  # that reading the input example may take; what it takes for others is the caller's choice

Result = TypeVar("Result")
Read = Callable[[], Sequence[Any]]


class Predictor:
    """Call from the event loop only. What a future of these is cancelled for (its client went) is not computed."""

    def __init__(self, batcher: Batcher, reader: Worker, reading_seconds: Callable[[], float] = lambda: 0) -> None:
        """`reading_seconds` is what it takes to make rows of the model's input example."""
        self._batcher = batcher
        self._reader = reader
        self._reading_seconds = reading_seconds

    def answer(self, request: Request, read: Read, write: Callable[[Outputs], Result]) -> Awaitable[Result]:
        """`write` of the outputs for the rows that `read` gives. What these raise, it or the future raises."""
        if self._is_long(request):
            return asyncio.get_running_loop().create_task(self._answer_slowly(request, read, write))
        return self._batcher.submit(read(), write, request.deadline)

    async def predict(self, rows: Sequence[Any], deadline: float | None = None) -> Outputs:
        """One output a row, in order."""
        return await self._batcher.submit(rows, lambda outputs: outputs, deadline)

    async def stream(self, steps: Generator[Result, None, None]) -> AsyncIterator[Result]:
        """Take `steps` one at a time, each in the model's thread and in turn with batches and other streams.

        They are closed, in such a turn too, when this ends, be it because nobody listens any more.
        """
        end = object()
        try:
            while (step := await self._batcher.run(lambda: next(steps, end))) is not end:
                yield step  # type: ignore[misc]
        finally:
            with suppress(TooBusy):
                self._batcher.run(steps.close)

    async def read(self, request: Request, read: Callable[[], Result]) -> Result:
        """What `read` makes of the request's body; in a thread if that takes long."""
        return await self._reader.start(read) if self._is_long(request) else read()

    async def _answer_slowly(self, request: Request, read: Read, write: Callable[[Outputs], Result]) -> Result:
        return await self._batcher.submit(await self._reader.start(read), write, request.deadline)

    def _is_long(self, request: Request) -> bool:
        return len(request.body) > INLINE_BYTES or self._reading_seconds() > INLINE_SECONDS
