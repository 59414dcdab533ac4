"""Logits: what a PyTorch classifier answers, as probabilities."""

from __future__ import annotations

import torch

from inference_server.families.classifier import Probabilities


def probabilities(logits: torch.Tensor) -> list[Probabilities]:
    """One probability a class, for each row of `logits`. Raises `ArithmeticError` if they are no finite numbers."""
    if not torch.isfinite(logits).all():
        raise ArithmeticError("The model answered with numbers that are not finite.")
    return list(torch.softmax(logits.double(), dim=1).cpu().numpy())
