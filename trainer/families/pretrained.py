"""Transformers to start from: a folder in Hugging Face's layout, an earlier model of ours being one of them."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer

from inference_server.families.base import ModelUnreadable
from inference_server.families.tokens import read_tokenizer
from inference_server.families.transformer import positions, read_config
from inference_server.families.weights import FILE_NAME, skeleton, tensor_shapes
from trainer.families.base import DataUnreadable
from trainer.families.warm_start import reading_initial_model

log = logging.getLogger(__name__)

_NEW_WEIGHTS = 1 << 24  # what a config may declare beyond its stored weights, for a new head


def load_pretrained(
    head: Any, initial: Path, kinds: Collection[str], max_length: int, classes: int | None = None
) -> tuple[Any, Tokenizer]:
    """The folder's model under `head` (an AutoModelFor... class), with its tokenizer. Raises `DataUnreadable`.

    A classifier's head is new where the folder has none of its size; everything below must be there.
    """
    with reading_initial_model():
        config = read_config(initial, kinds, classes)
        tokenizer = read_tokenizer(initial, config.vocab_size)
        _check_declared(head, config, initial)
    if max_length > positions(config):
        raise DataUnreadable(
            f"The initial model reads {positions(config)} tokens at most; maxLength {max_length} is more."
        )
    try:
        model, report = head.from_pretrained(
            initial,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise DataUnreadable(f"The initial model cannot be read: {error}") from error
    _check_loaded(model, {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    return model, tokenizer


def _check_declared(head: Any, config: Any, initial: Path) -> None:
    declared = sum(weight.numel() for weight in skeleton(lambda: head.from_config(config)).parameters())
    stored = sum(math.prod(shape) for shape in tensor_shapes(initial / FILE_NAME).values())
    if declared > stored + _NEW_WEIGHTS:
        raise ModelUnreadable(f"Its config.json declares {declared} weights; {FILE_NAME} holds {stored}.")


def _check_loaded(model: Any, absent: Collection[str]) -> None:
    body = f"{model.base_model_prefix}."
    lacking = [name for name in sorted(absent) if name.startswith(body) and ".pooler." not in name]
    if lacking:
        raise DataUnreadable(f"The initial model lacks the weights {lacking[0]}, or has them in another shape.")
    if absent:
        log.info("New weights, as the initial model has none that fit: %s.", ", ".join(sorted(absent)))
