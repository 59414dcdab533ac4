"""Computing with PyTorch: how every family's predictions are run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def predicting(device: str) -> Iterator[None]:
    """Nothing is recorded for gradients; on a GPU, what loses nothing by it is computed in bfloat16."""
    with torch.inference_mode(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=device == "cuda"):
        yield
