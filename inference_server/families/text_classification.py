"""Text classification, serving: texts in, a class with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.base import ModelUnreadable
from inference_server.families.buckets import in_buckets
from inference_server.families.classifier import Probabilities
from inference_server.families.computing import predicting
from inference_server.families.logits import probabilities
from inference_server.families.padding import padded
from inference_server.families.texts import MAX_TEXTS, texts_of
from inference_server.families.tokens import read_tokenizer
from inference_server.families.transformer import ENCODERS, load_transformer, padding, positions, read_config

_TOKENS_AT_ONCE = 8192  # keeps the activations of a model of usual size (hidden 768) near 1 GB at most


class TextClassification:
    """A row is one text's tokens, cut at the length that was trained with; an output is one probability a class."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Tokenizer,
        max_length: int,
        classes: Sequence[str | int | float | bool],
        device: str,
    ) -> None:
        tokenizer.enable_truncation(max_length)
        self._model = model
        self._tokenizer = tokenizer
        self._classes = classes
        self._device = device

    @classmethod
    def load(cls, directory: Path, card: ModelCard, device: str) -> TextClassification:
        classes = classifier.classes_of(card)
        config = read_config(directory, ENCODERS, len(classes))
        max_length = max_length_of(card, config)
        tokenizer = read_tokenizer(directory, config.vocab_size)
        model = load_transformer(directory, AutoModelForSequenceClassification, config, device)
        return cls(model, tokenizer, max_length, classes, device)

    def parse(self, data: object) -> Sequence[Sequence[int]]:
        """`{"texts": [...]}` or `{"text": "..."}`."""
        return [self._tokenizer.encode(text).ids for _, text in texts_of(data, MAX_TEXTS)]

    def predict(self, rows: Sequence[Sequence[int]]) -> Sequence[Probabilities]:
        with predicting(self._device):
            return in_buckets(self._probabilities, rows, len, _TOKENS_AT_ONCE)

    def render(self, outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
        return classifier.render(self._classes, outputs)

    def _probabilities(self, rows: Sequence[Sequence[int]]) -> Sequence[Probabilities]:
        ids, mask = padded(rows, padding(self._model.config), self._device)
        return probabilities(self._model(input_ids=ids, attention_mask=mask).logits)


def max_length_of(card: ModelCard, config: Any) -> int:
    """The tokens of a text that the model reads, from its card. Raises `ModelUnreadable`."""
    text = card.details.get("text")
    length = text.get("maxLength") if isinstance(text, Mapping) else None
    if type(length) is not int or not 4 <= length <= positions(config):
        raise ModelUnreadable(f"The card must say text.maxLength, from 4 to the model's {positions(config)} positions.")
    return length
