"""Decoding: prompts become continuations, token by token, in one batch whose rows know nothing of each other."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inference_server.families.padding import padded
from inference_server.families.transformer import padding, positions


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to go on from. `ids` and `max_new_tokens` together fit the model's positions.

    With `temperature` 0 the likeliest token is taken; else one is drawn by `seed` from the likeliest that together have
    the probability `top_p` (nucleus sampling, Holtzman et al., 2020).
    """

    ids: Sequence[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


def generate(model: Any, prompts: Sequence[Prompt], stops: Collection[int], device: str) -> list[list[int]]:
    """The new tokens of each prompt, up to `max_new_tokens` or the first of `stops`, which is left out."""
    ids, mask = padded([prompt.ids for prompt in prompts], padding(model.config), device, left=True)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    rows = [_Continuation(prompt, stops) for prompt in prompts]
    cache = None
    while True:
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        following = [row.go_on(logits) for row, logits in zip(rows, output.logits[:, -1].float().cpu(), strict=True)]
        if all(row.finished for row in rows):
            return [row.tokens for row in rows]
        cache = output.past_key_values
        ids = torch.tensor(following, device=device).unsqueeze(1)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        # A finished row is fed along while others go on; the clamp keeps it inside the model's table of positions.
        places = (places[:, -1:] + 1).clamp(max=positions(model.config) - 1)


class _Continuation:
    """What one prompt has got so far. Draws come from a generator of its own, so no neighbour shifts them."""

    def __init__(self, prompt: Prompt, stops: Collection[int]) -> None:
        self._prompt = prompt
        self._stops = stops
        self._random = torch.Generator().manual_seed(prompt.seed)
        self.tokens: list[int] = []
        self.finished = False

    def go_on(self, logits: torch.Tensor) -> int:
        """Choose the next token by `logits` (vocabulary,), and return it."""
        if self.finished:
            return 0
        token = self._choose(logits)
        if token in self._stops:
            self.finished = True
        else:
            self.tokens.append(token)
            self.finished = len(self.tokens) == self._prompt.max_new_tokens
        return token

    def _choose(self, logits: torch.Tensor) -> int:
        if self._prompt.temperature == 0:
            return int(logits.argmax())
        scaled = (logits.double() - logits.max()) / self._prompt.temperature
        chances, tokens = torch.softmax(scaled, dim=0).sort(descending=True, stable=True)
        chances[chances.cumsum(0) - chances >= self._prompt.top_p] = 0
        return int(tokens[torch.multinomial(chances, 1, generator=self._random)])
