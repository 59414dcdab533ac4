"""Image classification, training: a residual network fitted to images in a folder a class."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional

from inference_server.card import ModelCard
from inference_server.families.cnn import Architecture, ResidualNetwork
from inference_server.families.image_classification import ImageClassification as Serving
from inference_server.families.images import MAX_SIDE, Pixels, Scaling
from inference_server.families.weights import FILE_NAME, load_weights, save_weights
from trainer.datasets import split_indices
from trainer.families.base import DataUnreadable
from trainer.families.fitting import Fitted, Fitting, Settings
from trainer.families.image_reading import LabelledImages, measured_scaling, read_images
from trainer.families.measures import measures
from trainer.families.warm_start import card_of, check_classes, reading_initial_model

FAMILY = "image_classification"

_EXAMPLE_SIDE = 32
_COMPARED_IMAGES = 200
_COMPARED_PIXELS = 4 << 20


class ImageClassification(Fitted):
    """See `trainer.families.base.Family`. All images are in memory, scaled: imageSize x imageSize x 3 bytes each."""

    _images: LabelledImages
    _train: npt.NDArray[np.intp]
    _test: npt.NDArray[np.intp]
    _architecture: Architecture
    _scaling: Scaling
    _network: torch.nn.Module
    _serving: Serving

    def __init__(self, hyperparameters: Mapping[str, Any], device: str) -> None:
        self._settings = Settings.of(hyperparameters, device)
        self._device = device
        self._size = int(hyperparameters["imageSize"])

    def prepare(self, dataset: Path, initial: Path | None) -> None:
        self._settings.begin()
        self._images = read_images(dataset, self._size)
        labels, settings = self._images.labels, self._settings
        self._train, self._test = split_indices(len(labels), settings.test_fraction, settings.seed, labels)
        if initial is None:
            self._build()
        else:
            self._load(initial)
        self._serving = Serving(self._network, self._scaling, self._images.classes, self._device)
        rows = len(self._train)
        self._fitting = Fitting(self._network, rows, self._loss, self._measured, self._settings)

    def measure(self) -> Mapping[str, float]:
        return {**self._measured(), "train_rows": len(self._train), "test_rows": len(self._test)}

    def save(self, folder: Path) -> ModelCard:
        save_weights(self._network, folder / FILE_NAME)
        return ModelCard(
            family=FAMILY,
            input_example={"images": [_png(self._images.pixels[self._test[0]], _EXAMPLE_SIDE)]},
            classes=self._images.classes,
            details={"architecture": self._architecture.to_json(), "image": self._scaling.to_json()},
        )

    def held_out(self) -> Sequence[Any]:
        most = max(2, min(_COMPARED_IMAGES, _COMPARED_PIXELS // self._scaling.size**2))
        return [{"images": [_png(self._images.pixels[row]) for row in self._test[:most]]}]

    def signature(self) -> Any:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        return ModelSignature(Schema([ColSpec("string", "images")]), Schema([ColSpec("string", "predictions")]))

    def _build(self) -> None:
        self._scaling = measured_scaling(self._images.pixels, self._train)
        self._architecture = Architecture.for_images(self._scaling.size, len(self._images.classes))
        self._network = ResidualNetwork(self._architecture).to(self._device)

    def _load(self, initial: Path) -> None:
        card = card_of(initial, FAMILY)
        if card is None:
            raise DataUnreadable("The initial model has no card: image classification starts from its own models only.")
        check_classes(card, self._images.classes)
        with reading_initial_model():
            self._scaling = Scaling.from_json(card.details.get("image"))
            self._architecture = Architecture.from_json(card.details.get("architecture"))
            self._network = load_weights(lambda: ResidualNetwork(self._architecture), initial / FILE_NAME, self._device)
        if self._scaling.size != self._size:
            raise DataUnreadable(
                f"The initial model sees {self._scaling.size} pixels a side; imageSize is {self._size}."
            )

    def _measured(self) -> Mapping[str, float]:
        """Measured with the class that serves, on what it would make of the held-out images."""
        outputs = self._serving.predict([self._images.pixels[row] for row in self._test])
        return measures(outputs, self._images.labels[self._test])

    def _loss(self, batch: torch.Tensor) -> torch.Tensor:
        rows = self._train[batch.numpy()]
        pixels = torch.from_numpy(self._images.pixels[rows]).to(self._device)
        labels = torch.from_numpy(self._images.labels[rows]).to(self._device)
        return functional.cross_entropy(self._network(augmented(self._scaling.normalized(pixels))), labels)


def augmented(images: torch.Tensor) -> torch.Tensor:
    """(rows, channels, size, size), each row moved by up to an eighth of its side.

    Not mirrored: that would make a d of a b, and left of right.
    """
    rows, channels, size, _ = images.shape
    reach = size // 8
    down, right = torch.randint(0, 2 * reach + 1, (2, rows, 1)) + torch.arange(size)
    padded = functional.pad(images, [reach] * 4)
    row = torch.arange(rows).view(rows, 1, 1, 1)
    channel = torch.arange(channels).view(1, channels, 1, 1)
    return padded[row, channel, down.view(rows, 1, size, 1), right.view(rows, 1, 1, size)]


def _png(pixels: Pixels, largest_side: int = MAX_SIDE) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((largest_side, largest_side))
    content = BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")
