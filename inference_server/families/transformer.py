"""Transformers: model folders in Hugging Face's layout, read with nothing executed and nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from inference_server.families.base import ModelUnreadable
from inference_server.families.weights import FILE_NAME, load_weights, tensor_shapes

ENCODERS = frozenset({"bert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"})
DECODERS = frozenset({"gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"})
"""The kinds of model whose loading and prediction is tested here; all are part of the transformers package."""

CONFIG = "config.json"
MAX_CONFIG_BYTES = 8 << 20
MAX_SIZE = 1 << 24
"""Of any whole number in a config: the largest vocabularies and contexts in use stay far below."""

FEW_LAYERS = 256

_IGNORED = frozenset(
    {"_attn_implementation", "_name_or_path", "attn_implementation", "auto_map", "dtype", "id2label", "label2id"}
    | {"num_labels", "torch_dtype", "transformers_version"}
)
_CONFIG_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def read_config(directory: Path, kinds: Collection[str], classes: int | None = None) -> Any:
    """The `PretrainedConfig` in `directory`, of one of `kinds`. Raises `ModelUnreadable`.

    Code that it points to, and the way of computing that it asks for, are ignored; quantized weights are refused.
    """
    content = _config_content(directory / CONFIG)
    kind = content.pop("model_type", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ModelUnreadable(f"{CONFIG} says model_type {kind!r}; loaded are {', '.join(sorted(kinds))}.")
    if "quantization_config" in content:
        raise ModelUnreadable(f"{CONFIG} asks for quantized weights, which are not loaded here.")
    _check_sizes(content, stored=len(tensor_shapes(directory / FILE_NAME)))
    kept = {name: value for name, value in content.items() if name not in _IGNORED}
    try:
        config = AutoConfig.for_model(kind, **kept, **({} if classes is None else {"num_labels": classes}))
    except _CONFIG_ERRORS as error:
        raise ModelUnreadable(f"{CONFIG} is not a configuration of {kind}: {_first_line(error)}") from error
    _check_special_tokens(config)
    return config


def load_transformer(directory: Path, head: Any, config: Any, device: str) -> torch.nn.Module:
    """The model that `config` declares, with `head` (an AutoModelFor... class) and the folder's weights, to predict."""
    return load_weights(lambda: head.from_config(config), directory / FILE_NAME, device)


def save_config(model: Any, directory: Path) -> None:
    """Write `config.json` so that transformers too can load the folder."""
    model.config.architectures = [type(model).__name__]
    model.config.to_json_file(str(directory / CONFIG))


def positions(config: Any) -> int:
    """How many tokens the model can read at once."""
    count = int(config.max_position_embeddings)
    if config.model_type in ("roberta", "xlm-roberta"):  # they number from behind the padding token
        count -= int(config.pad_token_id) + 1
    return count


def padding(config: Any) -> int:
    """The token to pad with; any will do where the model has none, as padding is masked."""
    return 0 if config.pad_token_id is None else int(config.pad_token_id)


def _config_content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelUnreadable(f"The model has no {path.name}.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ModelUnreadable(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelUnreadable(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelUnreadable(f"{path.name} must be a JSON object.")
    return content


def _check_sizes(content: dict[str, Any], stored: int) -> None:
    """Layers cost time even without memory: there may be as many as the weights have tensors, or a few."""
    for name, value in _whole_numbers(content):
        allowed = max(stored, FEW_LAYERS) if "layer" in name else MAX_SIZE
        if abs(value) > allowed:
            raise ModelUnreadable(f"{CONFIG} says {name}: {value}; more than {allowed} is not loaded here.")


def _check_special_tokens(config: Any) -> None:
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        value = getattr(config, name)
        for token in value if isinstance(value, list) else [value]:
            if token is not None and (type(token) is not int or not 0 <= token < config.vocab_size):
                raise ModelUnreadable(f"{CONFIG} says {name}: {token}; the model has {config.vocab_size} tokens.")


def _whole_numbers(value: object, name: str = "") -> Iterator[tuple[str, int]]:
    if type(value) is int:
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _whole_numbers(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from _whole_numbers(item, name)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
