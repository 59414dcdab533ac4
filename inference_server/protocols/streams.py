"""Streams: text is answered while it is written, a step of the model at a time, in turn with all else it has to do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from inference_server.families.base import Piece, Steps, Writes
from inference_server.messages import Answer, Request
from inference_server.model import ServedModel
from inference_server.predicting import Predictor
from inference_server.problems import NotFound, TooBusy, problem_of
from inference_server.protocols import events, predict
from inference_server.protocols.events import Pieces
from inference_server.protocols.openai import Generation
from inference_server.protocols.openai_answers import Answering
from inference_server.worker import attempted

MOST_STREAMS = 64
"""At once; each keeps in memory what the model remembers of its texts."""


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class Streams:
    """Text that is written for requests. A client that goes away ends its stream, at the step that is being taken."""

    def __init__(self, model: ServedModel, predictor: Predictor) -> None:
        self._model = model
        self._predictor = predictor
        self._open = 0

    async def predict(self, request: Request, family: Writes) -> Answer:
        """The platform's own predict: as events if the request asks for them, else as one answer."""
        rows, stream = await self._predictor.read(request, lambda: _asked(family, request.body))
        if not stream and not events.wants_events(request.header("accept")):
            outputs = await self._predictor.predict(rows, request.deadline)
            return Answer(200, predict.write_body(self._model.rendered(outputs)))
        pieces = await _begun(self._pieces(family, rows))
        return _as_events(events.written(pieces, len(rows), request.id))

    async def generate(
        self, request: Request, read: Callable[[bytes | bytearray, Collection[str]], Generation]
    ) -> Answer:
        """OpenAI's completions and chats."""
        family = self._model.writes
        if family is None:
            raise NotFound(f"The model {self._model.names[0]} does not write text; it answers predictions.")
        asked = read(request.body, self._model.names)
        rows = await self._predictor.read(request, lambda: _rows(family, asked))
        tokens = sum(len(row.ids) for row in rows[: len(asked.prompts)])
        answering = Answering(asked, request.id, int(time.time()), tokens)
        pieces = self._pieces(family, rows)
        if not asked.stream:
            return await answering.whole(pieces)
        return _as_events(answering.chunks(await _begun(pieces)))

    async def _pieces(self, family: Writes, rows: Sequence[Any]) -> AsyncIterator[Sequence[Piece]]:
        """Raises a `Problem` whatever goes wrong."""
        if self._open >= MOST_STREAMS:
            raise TooBusy(f"{self._open} texts are being written already. Try again shortly.")
        self._open += 1
        try:
            async for step in self._predictor.stream(_with_error(family.stream(rows))):
                if isinstance(step, _Failed):
                    raise problem_of(step.error) from step.error
                yield step
        finally:
            self._open -= 1


def _with_error(steps: Steps) -> Generator[Sequence[Piece] | _Failed, None, None]:
    """The steps; what a model raises, which may be anything, is the last of them."""
    try:
        while not isinstance(step := attempted(next, steps), Exception):
            yield step
        if not isinstance(step, StopIteration):
            yield _Failed(step)
    finally:
        steps.close()


async def _begun(pieces: Pieces) -> Pieces:
    """The same pieces, of which the first is there: so what is refused is refused before a status is sent."""
    first = await anext(pieces, ())

    async def all_of_them() -> Pieces:
        yield first
        async for step in pieces:
            yield step

    return all_of_them()


def _asked(family: Writes, body: bytes | bytearray) -> tuple[Sequence[Any], bool]:
    data, stream = predict.read(body)
    return family.parse(data), stream


def _rows(family: Writes, asked: Generation) -> list[Any]:
    return [row for data in asked.data() for row in family.parse(data)]


def _as_events(body: AsyncIterator[bytes]) -> Answer:
    return Answer(200, body, events.TYPE, events.HEADERS)
