"""Tokens: a tokenizer.json of ours or of Hugging Face's."""

from __future__ import annotations

import os
from pathlib import Path

from tokenizers import Tokenizer

from inference_server.families.base import ModelUnreadable
from inference_server.worker import attempted

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
    tokenizer = attempted(_tokenizer, path)  # tokenizers raises nothing more specific than Exception
    if isinstance(tokenizer, Exception):
        raise ModelUnreadable(f"{FILE_NAME} cannot be read: {tokenizer}") from tokenizer
    if max(tokenizer.get_vocab().values(), default=-1) not in range(vocabulary):
        raise ModelUnreadable(f"{FILE_NAME} does not fit the model, which knows {vocabulary} tokens.")
    return plain(tokenizer)


def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_str(path.read_text(encoding="utf-8"))


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer` without padding and truncation of its own, and blind to special tokens in texts."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
