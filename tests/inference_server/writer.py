"""A model that writes what a test tells it, and requests to it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from inference_server.card import ModelCard
from inference_server.families.base import Piece
from tests.inference_server.answering import Echo

STREAMED = {"data": ["x"], "stream": True}
ASKED = {"model": "echo", "prompt": "x", "stream": True}


@dataclass
class Row:
    ids: Sequence[int] = (1, 2)


class Writer(Echo):
    """Writes "a" at every step, `length` times; waits for `go` before the second and each later one."""

    def __init__(self, length: int = 3, error: Exception | None = None) -> None:
        super().__init__()
        self.length = length
        self.error = error
        self.go = threading.Event()
        self.go.set()
        self.steps = 0
        self.closed = 0
        self.card = ModelCard("text_generation", {})

    @property
    def writes(self) -> Any:
        return self

    def parse(self, data: object) -> Sequence[Any]:
        return [Row()]

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        return ["a" * self.length] * len(rows)

    def stream(self, rows: Sequence[Any]) -> Generator[Sequence[Piece], None, None]:
        try:
            for step in range(1, self.length + 1):
                if step > 1:
                    assert self.go.wait(20)
                if step > 1 and self.error:
                    raise self.error
                self.steps += 1
                yield [Piece(0, "a", 1, "length" if step == self.length else "")]
        finally:
            self.closed += 1
