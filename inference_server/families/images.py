"""Images: from files or arrays of untrusted origin to the pixels that a network sees, in training as in serving."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

from inference_server.families.base import ModelUnreadable

if TYPE_CHECKING:  # compiled models are served without PyTorch
    import torch

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""Formats that Pillow decodes by itself; others start programs (EPS) or have decoders that few have read."""

MAX_PIXELS = 64_000_000
"""Of one image, before scaling; decoded it takes four bytes a pixel."""

MAX_SIDE = 1024
"""Of the scaled image; `imageSize` in model_profiles.yaml allows no more."""

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)

# Pillow warns of every broken tag of a file that it reads, or refuses, all the same.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class ImageUnreadable(Exception):  # noqa: N818
    """These bytes, or this array, are no image that is read here; the text goes on from "The image "."""


def decode(content: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first picture of an image file, upright and in RGB. Raises `ImageUnreadable`."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _check_pixels(image.width * image.height, max_pixels)
            image.load()
            return _in_rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageUnreadable(f"has more pixels than the {max_pixels} that are allowed") from error
    except _BROKEN as error:
        raise ImageUnreadable(f"is not a whole file of one of {', '.join(FORMATS)}") from error


def from_array(rows: object, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image from nested lists or an array, height x width (x 3), of numbers 0 to 255. Raises `ImageUnreadable`."""
    try:
        values = np.array(rows)
    except (ValueError, OverflowError) as error:
        raise ImageUnreadable("has rows of different lengths") from error
    if values.dtype.kind not in "uif":
        raise ImageUnreadable("must hold numbers only")
    if values.size == 0 or values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,), (3,)):
        raise ImageUnreadable("must be height x width, or height x width x 3")
    _check_pixels(values.shape[0] * values.shape[1], max_pixels)
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 255):
        raise ImageUnreadable("must hold numbers from 0 to 255")
    pixels = np.rint(values).astype(np.uint8)
    return Image.fromarray(pixels.reshape(pixels.shape[:2]) if pixels.shape[2:] == (1,) else pixels).convert("RGB")


@dataclass(frozen=True, slots=True)
class Scaling:
    """How images become a network's input: `size` pixels a side, then each channel normalized by `mean` and `std`."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def pixels(self, image: Image.Image) -> Pixels:
        """(size, size, 3); the aspect is not kept."""
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))

    def normalized(self, pixels: torch.Tensor) -> torch.Tensor:
        """(rows, size, size, 3) in bytes to (rows, 3, size, size) around 0."""
        images = pixels.float() / 255
        mean, std = images.new_tensor(self.mean), images.new_tensor(self.std)
        return ((images - mean) / std).permute(0, 3, 1, 2)

    def to_json(self) -> dict[str, Any]:
        return {"size": self.size, "channels": len(self.mean), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, content: object) -> Scaling:
        """Raises `ModelUnreadable`."""
        if not isinstance(content, Mapping) or set(content) != {"size", "channels", "mean", "std"}:
            raise ModelUnreadable("The model's card must say of images their size, channels, mean and std.")
        size, mean, std = content["size"], content["mean"], content["std"]
        if type(size) is not int or not 1 <= size <= MAX_SIDE:
            raise ModelUnreadable(f"The image size must be a whole number from 1 to {MAX_SIDE}.")
        if content["channels"] != 3 or not all(_three_finite(values) for values in (mean, std)) or min(std) <= 0:
            raise ModelUnreadable("Images must have 3 channels, each with a finite mean and a std above 0.")
        return cls(size, tuple(mean), tuple(std))


def _three_finite(values: object) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(type(value) in (int, float) and np.isfinite(value) for value in values)
    )


def _check_pixels(count: int, max_pixels: int) -> None:
    if count > max_pixels:
        raise ImageUnreadable(f"has {count} pixels; allowed are {max_pixels}")


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to 255, not scale it
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
