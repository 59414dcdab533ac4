"""Tokens: a tokenizer.json of ours or of Hugging Face's, and batches of its tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

from inference_server.families.base import ModelUnreadable

FILE_NAME = "tokenizer.json"
MAX_FILE_BYTES = 64 << 20

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns in every process that forks


def read_tokenizer(directory: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer in `directory`, all of whose tokens are below `vocabulary`. Raises `ModelUnreadable`.

    The name of a special token inside a text is read as plain text: a caller cannot forge one.
    """
    path = directory / FILE_NAME
    if not path.is_file():
        raise ModelUnreadable(f"The model has no {FILE_NAME}. Save it with a fast tokenizer.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ModelUnreadable(f"{FILE_NAME} is larger than {MAX_FILE_BYTES} bytes.")
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises nothing more specific
        raise ModelUnreadable(f"{FILE_NAME} cannot be read: {error}") from error
    if max(tokenizer.get_vocab().values(), default=-1) not in range(vocabulary):
        raise ModelUnreadable(f"{FILE_NAME} does not fit the model, which knows {vocabulary} tokens.")
    return plain(tokenizer)


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer` without padding and truncation of its own, and blind to special tokens in texts."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


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
