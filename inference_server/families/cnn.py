"""The convolutional network of image classification: a small residual network, declared by its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from inference_server.families.base import ModelUnreadable

CHANNELS = 3
MAX_STAGES = 8
MAX_WIDTH = 4096


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a `ResidualNetwork`.

    `widths` are the channels of each stage; the stem divides an image's side by `stem_stride`, each stage but the first
    halves it.
    """

    classes: int
    widths: tuple[int, ...]
    stem_stride: int = 1

    @classmethod
    def for_images(cls, size: int, classes: int) -> Architecture:
        """A network for images of `size` pixels a side: two to five stages, so that some 8 pixels a side are left."""
        stem_stride = 1 if size <= 64 else 2 if size <= 128 else 4
        stages = max(2, min(5, (size // stem_stride).bit_length() - 3))
        return cls(classes, tuple(min(256, 32 << stage) for stage in range(stages)), stem_stride)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "widths": list(self.widths)}

    @classmethod
    def from_json(cls, content: object) -> Architecture:
        """Raises `ModelUnreadable` if a size is missing, unknown, or beyond what a network here may have."""
        if not isinstance(content, Mapping) or set(content) != {"classes", "widths", "stem_stride"}:
            raise ModelUnreadable("The model's card must declare an architecture: classes, widths and stem_stride.")
        widths, classes, stride = content["widths"], content["classes"], content["stem_stride"]
        if not isinstance(widths, list) or not 1 <= len(widths) <= MAX_STAGES:
            raise ModelUnreadable(f"The architecture must have 1 to {MAX_STAGES} widths.")
        for size in (*widths, classes, stride):
            if type(size) is not int or not 1 <= size <= MAX_WIDTH:
                raise ModelUnreadable(f"Every size of the architecture must be a whole number from 1 to {MAX_WIDTH}.")
        return cls(classes, tuple(widths), stride)


class ResidualNetwork(nn.Module):  # type: ignore[misc]
    """Images (rows, 3, height, width), normalized, to logits (rows, classes): He et al., 2015, made small."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        first = architecture.widths[0]
        self.stem = _convolution(CHANNELS, first, architecture.stem_stride)
        before = (first, *architecture.widths)
        self.stages = nn.Sequential(
            *(
                _ResidualBlock(before[stage], width, stride=1 if stage == 0 else 2)
                for stage, width in enumerate(architecture.widths)
            )
        )
        self.head = nn.Linear(architecture.widths[-1], architecture.classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stages(torch.relu(self.stem(images)))
        return self.head(features.mean(dim=(2, 3)))


class _ResidualBlock(nn.Module):  # type: ignore[misc]
    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(channels_in, channels_out, stride)
        self.second = _convolution(channels_out, channels_out, 1)
        same = channels_in == channels_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        changed = self.second(torch.relu(self.first(features)))
        return torch.relu(changed + self.shortcut(features))


def _convolution(channels_in: int, channels_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
    )
