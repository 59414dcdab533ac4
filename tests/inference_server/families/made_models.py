"""Made models: untrained models of every PyTorch family, saved as the trainer saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from inference_server.card import ModelCard
from inference_server.families.base import Family, load_family
from inference_server.families.cnn import Architecture, ResidualNetwork
from inference_server.families.weights import FILE_NAME, save_weights
from trainer.families.vocabulary import learn_tokenizer

torch.set_num_threads(1)  # on a busy machine, threads that wait for each other take several times as long

CLASSES = ("cat", "dog", "owl")
LENGTH = 32
_SENTENCES = ["the quick brown fox jumps over the lazy dog", "one two three four five six seven"]


def image_model(folder: Path, **changes: Any) -> Path:
    """`changes` replace fields of the card; the weights stay."""
    torch.manual_seed(0)
    architecture = Architecture(classes=len(CLASSES), widths=(8, 16))
    save_weights(ResidualNetwork(architecture), folder / FILE_NAME)
    image = {"size": 12, "channels": 3, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    details = {"architecture": architecture.to_json(), "image": image}
    card = {"family": "image_classification", "input_example": {}, "classes": CLASSES, "details": details}
    ModelCard(**{**card, **changes}).write(folder)
    return folder


def text_classifier(folder: Path, kind: str = "distilbert", **changes: Any) -> Path:
    tokenizer = _save_tokenizer(folder, ["<pad>", "<cls>", "<sep>"], "<cls> $A <sep>")
    # roberta and its kin number positions from behind the padding token
    sizes = {**_sizes(tokenizer), "max_position_embeddings": LENGTH + 1, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **sizes, num_labels=len(CLASSES), **_token_ids(kind, 1, 2))
    _save_model(folder, AutoModelForSequenceClassification, config)
    details = {"text": {"maxLength": LENGTH}}
    card = {"family": "text_classification", "input_example": {}, "classes": CLASSES, "details": details}
    ModelCard(**{**card, **changes}).write(folder)
    return folder


def text_generator(folder: Path, kind: str = "gpt2") -> Path:
    tokenizer = _save_tokenizer(folder, ["<end>"], "<end> $A")
    config = AutoConfig.for_model(
        kind, **_sizes(tokenizer), max_position_embeddings=LENGTH, **_token_ids(kind, 0, 0), pad_token_id=None
    )
    _save_model(folder, AutoModelForCausalLM, config)
    ModelCard("text_generation", {}).write(folder)
    return folder


def loaded(folder: Path) -> Family:
    return load_family(folder, ModelCard.read(folder))


def reconfigure(folder: Path, **changes: Any) -> Path:
    """Change what the folder's config.json says; a value of None takes the key out."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def _save_tokenizer(folder: Path, specials: list[str], template: str) -> Tokenizer:
    tokenizer = learn_tokenizer(_SENTENCES * 3, specials, template)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def _save_model(folder: Path, head: Any, config: Any) -> None:
    torch.manual_seed(1)
    model = head.from_config(config)
    for weight in model.parameters():  # a fresh model's are so small that it would answer the same to everything
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.5)
    save_weights(model, folder / FILE_NAME)
    config.to_json_file(str(folder / "config.json"))


def _sizes(tokenizer: Tokenizer) -> dict[str, int]:
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
    }


def _token_ids(kind: str, first: int, last: int) -> dict[str, int]:
    return {"bos_token_id": first, "eos_token_id": last, **({"cls_token_id": 1} if kind == "modernbert" else {})}
