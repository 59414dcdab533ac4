"""Text classification compiled: the tokenizer as before, then one graph from tokens to probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.base import ModelUnreadable
from inference_server.families.buckets import in_buckets
from inference_server.families.classifier import Probabilities
from inference_server.families.graph import Graph
from inference_server.families.texts import MAX_TEXTS, texts_of
from inference_server.families.tokens import read_tokenizer

Tokens = np.ndarray[Any, np.dtype[np.int64]]

_TOKENS_AT_ONCE = 8192  # as for the original
_MAX_SIZE = 1 << 24


class TextClassification:
    """A row is one text's tokens, cut at the length that was trained with; an output is one probability a class."""

    def __init__(
        self, graph: Graph, tokenizer: Tokenizer, max_length: int, pad: int, classes: Sequence[str | int | float | bool]
    ) -> None:
        tokenizer.enable_truncation(max_length)
        self._graph = graph
        self._tokenizer = tokenizer
        self._pad = pad
        self._classes = classes

    @classmethod
    def load(cls, directory: Path, card: ModelCard, threads: int) -> TextClassification:
        tokens = (card.compiled or {}).get("tokens")
        tokenizer = read_tokenizer(directory, _size(tokens, "vocabulary"))
        max_length = _size(card.details.get("text"), "maxLength")
        graph = Graph.load(directory, threads)
        return cls(graph, tokenizer, max_length, _size(tokens, "pad"), classifier.classes_of(card))

    def parse(self, data: object) -> Sequence[Sequence[int]]:
        """`{"texts": [...]}` or `{"text": "..."}`."""
        return [self._tokenizer.encode(text).ids for _, text in texts_of(data, MAX_TEXTS)]

    def predict(self, rows: Sequence[Sequence[int]]) -> Sequence[Probabilities]:
        return in_buckets(self._probabilities, rows, len, _TOKENS_AT_ONCE)

    def render(self, outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
        return classifier.render(self._classes, outputs)

    def _probabilities(self, rows: Sequence[Sequence[int]]) -> Sequence[Probabilities]:
        return classifier.checked(self._graph(*padded(rows, self._pad)))


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tokens, Tokens]:
    """Rows of different lengths as one array (rows, longest), and its mask: 1 for a token, 0 for padding."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return ids, mask


def _size(holder: object, name: str) -> int:
    value = holder.get(name) if isinstance(holder, Mapping) else None
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise ModelUnreadable(f"The model card must say {name}, a whole number up to {_MAX_SIZE}.")
    return value
