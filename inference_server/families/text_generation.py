"""Text generation, serving: prompts in, what a causal language model writes after them out."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from inference_server.card import ModelCard
from inference_server.families.base import InputUnreadable, ModelUnreadable, Steps
from inference_server.families.decoding import Continuation, Prompt, decode
from inference_server.families.texts import OPTIONS, texts_of
from inference_server.families.tokens import read_tokenizer
from inference_server.families.transformer import DECODERS, load_transformer, positions, read_config
from inference_server.families.writing import Writing

MAX_TEXTS = 64
MAX_NEW_TOKENS = 1024
MAX_POSITIONS = 4096
"""Of prompt and continuation together, even where a model could read more; the time to read grows with the square."""

DEFAULT_NEW_TOKENS = 64

MAX_STOPS = 16
MAX_STOP_CHARACTERS = 200

_ROWS_AT_ONCE = 16


class TextGeneration:
    """A row is a `Prompt`; an output is its continuation, without the prompt."""

    def __init__(self, model: torch.nn.Module, tokenizer: Tokenizer, device: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._positions = min(positions(model.config), MAX_POSITIONS)
        self._device = device

    @classmethod
    def load(cls, directory: Path, card: ModelCard, device: str) -> TextGeneration:
        config = read_config(directory, DECODERS)
        if positions(config) < 2:
            raise ModelUnreadable("The model has no room for a prompt and a token after it.")
        tokenizer = read_tokenizer(directory, config.vocab_size)
        return cls(load_transformer(directory, AutoModelForCausalLM, config, device), tokenizer, device)

    def parse(self, data: object) -> Sequence[Prompt]:
        """`{"texts": [...]}` or `{"text": "..."}`, with `OPTIONS` for all of them.

        Of a prompt that leaves too little room for the new tokens, the end is kept. Without a seed every text draws
        its own; with one, a text gets the same continuation whatever stands beside it.
        """
        texts = texts_of(data, MAX_TEXTS, OPTIONS)
        assert isinstance(data, dict)
        most = min(MAX_NEW_TOKENS, self._positions - 1)
        new_tokens = _whole(data, "maxNewTokens", 1, most, default=min(DEFAULT_NEW_TOKENS, self._positions // 2))
        temperature = _number(data, "temperature", 2, default=0)
        top_p = _number(data, "topP", 1, default=1)
        if top_p == 0:
            raise InputUnreadable("topP must be above 0.", "/data/topP")
        seed = _whole(data, "seed", 0, 2**32 - 1) if "seed" in data else None
        stop = _stops(data.get("stop", ()))
        return [
            Prompt(
                self._ids(text, pointer)[new_tokens - self._positions :],
                new_tokens,
                temperature,
                top_p,
                secrets.randbits(32) if seed is None else seed,
                stop,
            )
            for pointer, text in texts
        ]

    def predict(self, rows: Sequence[Prompt]) -> Sequence[str]:
        outputs = [""] * len(rows)
        for pieces in self.stream(rows):
            for piece in pieces:
                outputs[piece.row] += piece.text
        return outputs

    def stream(self, rows: Sequence[Prompt]) -> Steps:
        """See `inference_server.families.base.Writes`."""
        stops = stops_of(self._model.config)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = [Continuation(prompt, stops) for prompt in rows[start : start + _ROWS_AT_ONCE]]
            writings = [Writing(start + at, row, self._tokenizer) for at, row in enumerate(part)]
            for _ in decode(self._model, part, self._device):
                yield [writing.piece() for writing in writings if not writing.ended]

    def render(self, outputs: Sequence[str]) -> Mapping[str, Any]:
        return {"predictions": list(outputs)}

    def _ids(self, text: str, pointer: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        start = self._model.config.bos_token_id
        if not ids and start is None:
            raise InputUnreadable("A text is empty, and this model cannot begin by itself.", pointer)
        return ids or [start]


def stops_of(config: Any) -> frozenset[int]:
    """The tokens that end a text; a config names none, one, or several."""
    end = config.eos_token_id
    return frozenset(end if isinstance(end, list) else () if end is None else (end,))


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list | tuple)
        or len(stops) > MAX_STOPS
        or not all(isinstance(stop, str) and 1 <= len(stop) <= MAX_STOP_CHARACTERS for stop in stops)
    ):
        raise InputUnreadable(
            f"stop must be a text, or a list of at most {MAX_STOPS}, each of 1 to {MAX_STOP_CHARACTERS} characters.",
            "/data/stop",
        )
    return tuple(stops)


def _whole(data: Mapping[str, object], name: str, least: int, most: int, default: int = 0) -> int:
    value = data.get(name, default)
    if type(value) is not int or not least <= value <= most:
        raise InputUnreadable(f"{name} must be a whole number from {least} to {most}.", f"/data/{name}")
    return value


def _number(data: Mapping[str, object], name: str, most: int, default: float) -> float:
    value = data.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputUnreadable(f"{name} must be a number from 0 to {most}.", f"/data/{name}")
    return float(value)
