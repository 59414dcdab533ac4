"""Image classification compiled: one graph from pixels in bytes to probabilities, scaling included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.classifier import Probabilities
from inference_server.families.graph import Graph
from inference_server.families.image_requests import pixels_of
from inference_server.families.images import Pixels, Scaling

_PIXELS_AT_ONCE = 1 << 17  # beyond it a row takes longer, as its numbers leave the processor's caches


class ImageClassification:
    """A row is one image's pixels, (size, size, 3) in bytes; an output is one probability a class."""

    def __init__(self, graph: Graph, scaling: Scaling, classes: Sequence[str | int | float | bool]) -> None:
        self._graph = graph
        self._scaling = scaling
        self._classes = classes
        self._at_once = max(1, _PIXELS_AT_ONCE // scaling.size**2)

    @classmethod
    def load(cls, directory: Path, card: ModelCard, threads: int) -> ImageClassification:
        scaling = Scaling.from_json(card.details.get("image"))
        return cls(Graph.load(directory, threads), scaling, classifier.classes_of(card))

    def parse(self, data: object) -> Sequence[Pixels]:
        return pixels_of(data, self._scaling)

    def predict(self, rows: Sequence[Pixels]) -> Sequence[Probabilities]:
        outputs: list[Probabilities] = []
        for start in range(0, len(rows), self._at_once):
            outputs += classifier.checked(self._graph(np.stack(rows[start : start + self._at_once])))
        return outputs

    def render(self, outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
        return classifier.render(self._classes, outputs)
