"""Images of a request: base64 files or arrays of numbers become the pixels that a network sees."""

from __future__ import annotations

import base64
import binascii
import re

import numpy as np
from PIL import Image

from inference_server.families.base import InputUnreadable
from inference_server.families.images import MAX_PIXELS, ImageUnreadable, Pixels, Scaling, decode, from_array

MAX_IMAGES = 1024
MAX_BYTES = 32 << 20
"""Of one image file, after base64."""

_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


def pixels_of(data: object, scaling: Scaling) -> list[Pixels]:
    """From `{"images": [...]}` or `{"image": ...}`: each base64 of a file, or an array, or nested lists, of 0 to 255.

    Raises `InputUnreadable`.
    """
    rows: list[Pixels] = []
    pixels_left = MAX_PIXELS
    for pointer, item in _images(data):
        try:
            image = _image(item, pixels_left)
        except ImageUnreadable as error:
            raise InputUnreadable(f"Image {len(rows) + 1} {error}.", pointer) from error
        pixels_left -= image.width * image.height
        rows.append(scaling.pixels(image))
    return rows


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
