"""OpenAI's answers: the pieces of text that a model writes, gathered into one object or told in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from inference_server.families.base import Piece
from inference_server.messages import Answer
from inference_server.problems import Problem
from inference_server.protocols.events import Pieces, event
from inference_server.protocols.openai import Generation, error

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers one request. `created` is in seconds since 1970; `prompt_tokens` are those of all prompts together."""

    asked: Generation
    id: str
    created: int
    prompt_tokens: int

    async def whole(self, pieces: Pieces) -> Answer:
        """Raises what the pieces raise."""
        count = len(self.asked.prompts) * self.asked.n
        texts, endings, tokens = [""] * count, [""] * count, 0
        async for step in pieces:
            for piece in step:
                choice = self.asked.choice(piece.row)
                texts[choice] += piece.text
                endings[choice] = piece.ending
                tokens += piece.tokens
        write = self._message if self.asked.chat else self._text
        choices = [write(index, text, ending) for index, (text, ending) in enumerate(zip(texts, endings, strict=True))]
        name = "chat.completion" if self.asked.chat else "text_completion"
        return Answer.json(200, {**self._head(name), "choices": choices, "usage": self._usage(tokens)})

    async def chunks(self, pieces: Pieces) -> AsyncIterator[bytes]:
        """Events; in place of an end, an error."""
        head = self._head("chat.completion.chunk" if self.asked.chat else "text_completion")
        if self.asked.include_usage:
            head["usage"] = None
        tokens = 0
        if self.asked.chat:
            yield self._opening(head)
        try:
            async for step in pieces:
                tokens += sum(piece.tokens for piece in step)
                if choices := self._choices(step):
                    yield event({**head, "choices": choices})
        except Problem as problem:
            yield event(error(problem))
            return
        if self.asked.include_usage:
            yield event({**head, "choices": [], "usage": self._usage(tokens)})
        yield DONE

    def _opening(self, head: dict[str, Any]) -> bytes:
        choices = [self._delta(index, {"role": "assistant", "content": ""}, "") for index in range(self.asked.n)]
        return event({**head, "choices": choices})

    def _choices(self, step: Sequence[Piece]) -> list[dict[str, Any]]:
        told = [piece for piece in step if piece.text or piece.ending]
        if not self.asked.chat:
            return [self._text(self.asked.choice(piece.row), piece.text, piece.ending) for piece in told]
        return [
            self._delta(self.asked.choice(piece.row), {"content": piece.text} if piece.text else {}, piece.ending)
            for piece in told
        ]

    def _head(self, name: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.asked.chat else "cmpl"
        return {"id": f"{prefix}-{self.id}", "object": name, "created": self.created, "model": self.asked.model}

    def _usage(self, tokens: int) -> dict[str, int]:
        total = self.prompt_tokens + tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": tokens, "total_tokens": total}

    def _text(self, index: int, text: str, ending: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": ending or None}

    def _message(self, index: int, text: str, ending: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": ending or None}

    def _delta(self, index: int, delta: dict[str, str], ending: str) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": ending or None}
