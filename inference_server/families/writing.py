"""Writing: a continuation's tokens become text bit by bit, each character given out once it is certain."""

from __future__ import annotations

from tokenizers import Tokenizer

from inference_server.families.base import Piece
from inference_server.families.decoding import Continuation

_CONTEXT = 6
"""Tokens of the prompt to decode behind: some tokenizers drop the space in front of a text's first word."""

_UNFINISHED = "\ufffd"  # what the bytes of a character become as long as some of them are missing


class Writing:
    """The text of one row. Tokens are decoded in windows that begin where characters do, so the parts add up."""

    def __init__(self, row: int, continuation: Continuation, tokenizer: Tokenizer) -> None:
        self._row = row
        self._continuation = continuation
        self._tokenizer = tokenizer
        self._context = list(continuation.prompt.ids[-_CONTEXT:])
        self._decoded = 0
        self._counted = 0
        self._held = ""
        self.ended = False

    def piece(self) -> Piece:
        """What the row got since the last time. Ends the continuation where its text has come to a stop."""
        count = len(self._continuation.tokens) - self._counted
        self._counted += count
        self._held += self._decode(last=bool(self._continuation.ending))
        text = self._certain()
        ending = self._continuation.ending
        self.ended = bool(ending)
        return Piece(self._row, text, count, ending)

    def _decode(self, *, last: bool) -> str:
        new = self._continuation.tokens[self._decoded :]
        if not new:
            return ""
        before: str = self._tokenizer.decode(self._context)
        whole: str = self._tokenizer.decode([*self._context, *new])
        if whole.endswith(_UNFINISHED) and not last:
            return ""
        self._decoded += len(new)
        self._context = new
        return whole[len(before) :]

    def _certain(self) -> str:
        """What is held, up to a stop, or to where one may have begun."""
        held, stops = self._held, self._continuation.prompt.stop
        found = [at for stop in stops if (at := held.find(stop)) >= 0]
        if found:
            self._continuation.ending = "stop"
            return held[: min(found)]
        kept = 0 if self._continuation.ending else max((_begun(held, stop) for stop in stops), default=0)
        self._held = held[len(held) - kept :]
        return held[: len(held) - kept]


def _begun(text: str, stop: str) -> int:
    """How many characters of `stop` the text ends with."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
