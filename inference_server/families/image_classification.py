"""Image classification, serving: base64 files or arrays of numbers in, a class with probabilities out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.base import InputUnreadable, ModelUnreadable
from inference_server.families.classifier import Probabilities
from inference_server.families.cnn import Architecture, ResidualNetwork
from inference_server.families.images import MAX_PIXELS, ImageUnreadable, Pixels, Scaling, decode, from_array
from inference_server.families.weights import FILE_NAME, load_weights

MAX_IMAGES = 1024
MAX_BYTES = 32 << 20
"""Of one image file, after base64."""

_PIXELS_AT_ONCE = 1 << 19  # keeps the network's activations near 100 MB, whatever the image size
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


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
        """`{"images": [...]}` or `{"image": ...}`: each base64 of a file, or nested lists of 0 to 255."""
        rows: list[Pixels] = []
        pixels_left = MAX_PIXELS
        for pointer, item in _images(data):
            try:
                image = _image(item, pixels_left)
            except ImageUnreadable as error:
                raise InputUnreadable(f"The image at {pointer} {error}.", pointer) from error
            pixels_left -= image.width * image.height
            rows.append(self._scaling.pixels(image))
        return rows

    def predict(self, rows: Sequence[Pixels]) -> Sequence[Probabilities]:
        outputs: list[Probabilities] = []
        at_once = max(1, _PIXELS_AT_ONCE // self._scaling.size**2)
        with torch.inference_mode():
            for start in range(0, len(rows), at_once):
                pixels = torch.from_numpy(np.stack(rows[start : start + at_once])).to(self._device)
                outputs += classifier.probabilities(self._network(self._scaling.normalized(pixels)))
        return outputs

    def render(self, outputs: Sequence[Probabilities]) -> Mapping[str, Any]:
        return classifier.render(self._classes, outputs)


def _images(data: object) -> list[tuple[str, object]]:
    if not isinstance(data, dict) or set(data) not in ({"images"}, {"image"}):
        raise InputUnreadable('data must be {"images": [...]}, or {"image": ...} for one.')
    if "image" in data:
        return [("/data/image", data["image"])]
    images = data["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        raise InputUnreadable(f"images must be a list of 1 to {MAX_IMAGES} images.", "/data/images")
    return [(f"/data/images/{index}", image) for index, image in enumerate(images)]


def _image(item: object, max_pixels: int) -> Image.Image:
    """One request may hold `MAX_PIXELS` in all its images together; `max_pixels` is what is left of them."""
    if isinstance(item, str):
        return decode(_file_bytes(item), max_pixels)
    if isinstance(item, list | np.ndarray):
        return from_array(item, max_pixels)
    raise ImageUnreadable("must be base64 text or a nested array")


def _file_bytes(text: str) -> bytes:
    encoded = text[match.end() :] if (match := _DATA_URL.match(text)) else text
    if len(encoded) > MAX_BYTES * 4 // 3 + 4:
        raise ImageUnreadable(f"has more than the {MAX_BYTES} bytes that are allowed")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageUnreadable("is not base64") from error
