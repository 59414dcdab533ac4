"""Image reading: a folder of images a class becomes pixels and labels in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference_server.families.cnn import MAX_WIDTH as MAX_CLASSES
from inference_server.families.images import ImageUnreadable, Pixels, Scaling, decode
from trainer.datasets import MINIMUM_ROWS, image_folders
from trainer.families.base import DataUnreadable
from trainer.families.measures import Labels

log = logging.getLogger(__name__)

BROKEN_SHARE = 0.05
"""Of all images; more is no accident but a bad dataset."""

MAX_FILE_BYTES = 256 << 20

_READERS = 4


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """`pixels` (images, size, size, 3); `labels` (images,) number `classes`, the folders' names, sorted."""

    pixels: Pixels
    labels: Labels
    classes: tuple[str, ...]


def read_images(dataset: Path, size: int) -> LabelledImages:
    """All images, scaled to `size` pixels a side. Raises `DataUnreadable`.

    Files that are no images are left out with a line in the log, up to `BROKEN_SHARE`.
    """
    files = image_folders(dataset)
    scaled = _scaled([path for path, _ in files], size)
    _check_broken([path for (path, _), pixels in zip(files, scaled, strict=True) if pixels is None], len(files))
    kept = [(pixels, name) for pixels, (_, name) in zip(scaled, files, strict=True) if pixels is not None]
    if len(kept) < MINIMUM_ROWS:
        raise DataUnreadable(f"The dataset has too few images: {len(kept)}, and at least {MINIMUM_ROWS} are needed.")
    classes = tuple(sorted({name for _, name in kept}))
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataUnreadable(
            f"The dataset has readable images of {len(classes)} class(es); 2 to {MAX_CLASSES} will do."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for _, name in kept], dtype=np.int64)
    return LabelledImages(np.stack([pixels for pixels, _ in kept]), labels, classes)


def measured_scaling(pixels: Pixels, rows: npt.NDArray[np.intp]) -> Scaling:
    """Each channel's mean and deviation over `rows`, by counting byte values: exact, and without a copy."""
    counts = np.zeros((3, 256))
    for row in rows:
        counts += [np.bincount(pixels[row, :, :, channel].ravel(), minlength=256) for channel in range(3)]
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    deviation = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0))
    floor = 1 / 255  # a channel of one value is no reason to divide by nothing
    return Scaling(pixels.shape[1], tuple(mean.tolist()), tuple(np.maximum(deviation, floor).tolist()))


def _scaled(files: Sequence[Path], size: int) -> list[Pixels | None]:
    """Each file's pixels, or None where it is no image. Decoding leaves the interpreter free, so threads help."""
    scaling = Scaling(size, (0.0,) * 3, (1.0,) * 3)

    def read(path: Path) -> Pixels | None:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageUnreadable(f"has more than {MAX_FILE_BYTES} bytes")
            return scaling.pixels(decode(path.read_bytes()))
        except ImageUnreadable as error:
            log.warning("Left out: the image %s/%s %s.", path.parent.name, path.name, error)
            return None

    with ThreadPoolExecutor(_READERS) as readers:
        return list(readers.map(read, files))


def _check_broken(broken: Sequence[Path], total: int) -> None:
    if len(broken) > BROKEN_SHARE * total:
        first = f"{broken[0].parent.name}/{broken[0].name}"
        raise DataUnreadable(f"{len(broken)} of the dataset's {total} images cannot be read; the first is {first}.")
