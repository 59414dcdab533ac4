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
from inference_server.families.base import InputUnreadable, ModelUnreadable
from inference_server.families.decoding import Prompt, generate
from inference_server.families.texts import texts_of
from inference_server.families.tokens import read_tokenizer
from inference_server.families.transformer import DECODERS, load_transformer, positions, read_config

MAX_TEXTS = 64
MAX_NEW_TOKENS = 1024
MAX_POSITIONS = 4096
"""Of prompt and continuation together, even where a model could read more; the time to read grows with the square."""

DEFAULT_NEW_TOKENS = 64

_ROWS_AT_ONCE = 16
_OPTIONS = ("maxNewTokens", "temperature", "topP", "seed")


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
        """`{"texts": [...]}` or `{"text": "..."}`, with `maxNewTokens`, `temperature`, `topP`, `seed` for all of them.

        Of a prompt that leaves too little room for the new tokens, the end is kept. Without a seed every text draws
        its own; with one, a text gets the same continuation whatever stands beside it.
        """
        texts = texts_of(data, MAX_TEXTS, _OPTIONS)
        assert isinstance(data, dict)
        most = min(MAX_NEW_TOKENS, self._positions - 1)
        new_tokens = _whole(data, "maxNewTokens", 1, most, default=min(DEFAULT_NEW_TOKENS, self._positions // 2))
        temperature = _number(data, "temperature", 2, default=0)
        top_p = _number(data, "topP", 1, default=1)
        if top_p == 0:
            raise InputUnreadable("topP must be above 0.", "/data/topP")
        seed = _whole(data, "seed", 0, 2**32 - 1) if "seed" in data else None
        return [
            Prompt(
                self._ids(text, pointer)[new_tokens - self._positions :],
                new_tokens,
                temperature,
                top_p,
                secrets.randbits(32) if seed is None else seed,
            )
            for pointer, text in texts
        ]

    def predict(self, rows: Sequence[Prompt]) -> Sequence[str]:
        outputs: list[str] = []
        with torch.inference_mode():
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                prompts = rows[start : start + _ROWS_AT_ONCE]
                tokens = generate(self._model, prompts, stops_of(self._model.config), self._device)
                outputs += [self._continuation(*pair) for pair in zip(prompts, tokens, strict=True)]
        return outputs

    def render(self, outputs: Sequence[str]) -> Mapping[str, Any]:
        return {"predictions": list(outputs)}

    def _ids(self, text: str, pointer: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        start = self._model.config.bos_token_id
        if not ids and start is None:
            raise InputUnreadable(f"The text at {pointer} is empty, and this model cannot begin by itself.", pointer)
        return ids or [start]

    def _continuation(self, prompt: Prompt, tokens: Sequence[int]) -> str:
        """Decoded behind the prompt, as some tokenizers drop a space in front of the first word."""
        before: str = self._tokenizer.decode(prompt.ids)
        whole: str = self._tokenizer.decode([*prompt.ids, *tokens])
        return whole[len(before) :] if whole.startswith(before) else self._tokenizer.decode(tokens)


def stops_of(config: Any) -> frozenset[int]:
    """The tokens that end a text; a config names none, one, or several."""
    end = config.eos_token_id
    return frozenset(end if isinstance(end, list) else () if end is None else (end,))


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
