"""Padding: rows of tokens of different lengths as one tensor for PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def padded(
    rows: Sequence[Sequence[int]], pad: int, device: str, *, left: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths as one tensor (rows, longest), and its mask: 1 for a token, 0 for padding."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids.to(device), mask.to(device)
