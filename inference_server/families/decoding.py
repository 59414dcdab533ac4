"""Decoding: prompts become continuations, token by token, in one batch whose rows know nothing of each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inference_server.families.computing import predicting
from inference_server.families.padding import padded
from inference_server.families.transformer import padding, positions


@dataclass(frozen=True, slots=True)
class Prompt:
    """One text to go on from. `ids` and `max_new_tokens` together fit the model's positions.

    With `temperature` 0 the likeliest token is taken; else one is drawn by `seed` from the likeliest that together have
    the probability `top_p` (nucleus sampling, Holtzman et al., 2020). The first of `stop` in the continuation ends it,
    and is left out.
    """

    ids: Sequence[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: Sequence[str] = ()


class Continuation:
    """What one prompt has got so far. Draws come from a generator of its own, so no neighbour shifts them.

    `ending` is `stop` after one of the tokens `stops`, which is left out, `length` after `max_new_tokens`, else empty.
    """

    def __init__(self, prompt: Prompt, stops: Collection[int]) -> None:
        self.prompt = prompt
        self.tokens: list[int] = []
        self.ending = ""
        self._stops = stops
        self._random = torch.Generator().manual_seed(prompt.seed)

    def go_on(self, logits: torch.Tensor) -> int:
        """Choose the next token by `logits` (vocabulary,), and return it."""
        if self.ending:
            return 0
        token = self._choose(logits)
        if token in self._stops:
            self.ending = "stop"
        else:
            self.tokens.append(token)
            self.ending = "length" if len(self.tokens) == self.prompt.max_new_tokens else ""
        return token

    def _choose(self, logits: torch.Tensor) -> int:
        if self.prompt.temperature == 0:
            return int(logits.argmax())
        scaled = (logits.double() - logits.max()) / self.prompt.temperature
        chances, tokens = torch.softmax(scaled, dim=0).sort(descending=True, stable=True)
        chances[chances.cumsum(0) - chances >= self.prompt.top_p] = 0
        return int(tokens[torch.multinomial(chances, 1, generator=self._random)])


def decode(model: Any, rows: Sequence[Continuation], device: str) -> Iterator[None]:
    """Each step gives every row one more token, until all have an ending; the caller may end one too.

    Between two steps nothing is set for the thread, so that many decodings may take turns in one.
    """
    prompts = [row.prompt.ids for row in rows]
    ids, mask = padded(prompts, padding(model.config), device, left=True)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    cache = None
    while True:
        with predicting(device):
            output = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            following = [row.go_on(next_) for row, next_ in zip(rows, output.logits[:, -1].float().cpu(), strict=True)]
        yield
        if all(row.ending for row in rows):
            return
        cache = output.past_key_values
        ids = torch.tensor(following, device=device).unsqueeze(1)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        # A finished row is fed along while others go on; the clamp keeps it inside the model's table of positions.
        places = (places[:, -1:] + 1).clamp(max=positions(model.config) - 1)
