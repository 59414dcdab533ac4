"""Image classification, serving: base64 files or arrays of numbers in, a class with probabilities out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.base import ModelUnreadable
from inference_server.families.classifier import Probabilities
from inference_server.families.cnn import Architecture, ResidualNetwork
from inference_server.families.computing import predicting
from inference_server.families.image_requests import pixels_of
from inference_server.families.images import Pixels, Scaling
from inference_server.families.logits import probabilities
from inference_server.families.weights import FILE_NAME, load_weights

_PIXELS_AT_ONCE = 1 << 19  # keeps the network's activations near 100 MB, whatever the image size


class ImageClassification:
    """A row is one image's pixels, (size, size, 3) in bytes; an output is one probability a class."""

    def __init__(
        self, network: torch.nn.Module, scaling: Scaling, classes: Sequence[str | int | float | bool], device: str
    ) -> None:
        self._network = network
        self._scaling = scaling
        self._classes = classes
        self._device = device

    @classmethod
    def load(cls, directory: Path, card: ModelCard, device: str) -> ImageClassification:
        classes = classifier.classes_of(card)
        architecture = Architecture.from_json(card.details.get("architecture"))
        if architecture.classes != len(classes):
            raise ModelUnreadable(f"The card names {len(classes)} classes; the network has {architecture.classes}.")
        scaling = Scaling.from_json(card.details.get("image"))
        network = load_weights(lambda: ResidualNetwork(architecture), directory / FILE_NAME, device)
        return cls(network, scaling, classes, device)

    def parse(self, data: object) -> Sequence[Pixels]:
        return pixels_of(data, self._scaling)

    def predict(self, rows: Sequence[Pixels]) -> Sequence[Probabilities]:
        outputs: list[Probabilities] = []
        at_once = max(1, _PIXELS_AT_ONCE // self._scaling.size**2)
        with predicting(self._device):
            for start in range(0, len(rows), at_once):
                pixels = torch.from_numpy(np.stack(rows[start : start + at_once])).to(self._device)
                outputs += probabilities(self._network(self._scaling.normalized(pixels)))
        return outputs

    def render(self, outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
        return classifier.render(self._classes, outputs)
