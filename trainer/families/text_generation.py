"""Text generation, training: a causal language model fitted to a table's texts or to a file's paragraphs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPT2Config

from inference_server.card import ModelCard
from inference_server.families.padding import padded
from inference_server.families.text_generation import stops_of
from inference_server.families.tokens import FILE_NAME as TOKENIZER
from inference_server.families.transformer import DECODERS, padding, save_config
from inference_server.families.weights import FILE_NAME, save_weights
from trainer.datasets import MINIMUM_ROWS, choose_text_column, is_text, read_table, split_indices
from trainer.families.base import DataUnreadable
from trainer.families.fitting import Fitted, Fitting, Settings
from trainer.families.pretrained import load_pretrained
from trainer.families.vocabulary import learn_tokenizer
from trainer.families.warm_start import card_of

FAMILY = "text_generation"

_END = "<|endoftext|>"
_EXAMPLE_WORDS = 3
_ROWS_AT_ONCE = 16
_NO_TARGET = -100  # what cross_entropy leaves out


class TextGeneration(Fitted):
    """See `trainer.families.base.Family`. A text longer than maxLength is learnt in pieces that follow each other."""

    _prompt: str
    _tokenizer: Tokenizer
    _model: Any
    _train: list[list[int]]
    _test: list[list[int]]

    def __init__(self, hyperparameters: Mapping[str, Any], device: str) -> None:
        self._settings = Settings.of(hyperparameters, device)
        self._device = device
        self._max_length = int(hyperparameters["maxLength"])
        self._column = str(hyperparameters["textColumn"])

    def prepare(self, dataset: Path, initial: Path | None) -> None:
        self._settings.begin()
        texts = read_texts(dataset, self._column)
        split = split_indices(len(texts), self._settings.test_fraction, self._settings.seed)
        train, test = ([texts[row] for row in rows] for rows in split)
        self._prompt = " ".join(test[0].split()[:_EXAMPLE_WORDS])[:200]
        if initial is None:
            self._build(train)
        else:
            card_of(initial, FAMILY)
            self._model, self._tokenizer = load_pretrained(AutoModelForCausalLM, initial, DECODERS, self._max_length)
        self._model.to(self._device).eval()
        self._train, self._test = self._pieces(train), self._pieces(test)
        rows = len(self._train)
        self._fitting = Fitting(self._model, rows, self._loss, self._measured, self._settings)

    def measure(self) -> Mapping[str, float]:
        return {**self._measured(), "train_rows": len(self._train), "test_rows": len(self._test)}

    def save(self, folder: Path) -> ModelCard:
        save_weights(self._model, folder / FILE_NAME)
        save_config(self._model, folder)
        self._tokenizer.save(str(folder / TOKENIZER))
        example = {"text": self._prompt, "maxNewTokens": min(8, self._max_length // 2)}
        return ModelCard(family=FAMILY, input_example=example)

    def held_out(self) -> Sequence[Any]:
        return []  # nothing is compared: the family is not compiled

    def signature(self) -> Any:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        return ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("string", "predictions")]))

    def _build(self, texts: Sequence[str]) -> None:
        self._tokenizer = learn_tokenizer(texts, [_END], f"{_END} $A")
        config = GPT2Config(
            vocab_size=self._tokenizer.get_vocab_size(),
            n_positions=self._max_length,
            n_embd=128,
            n_layer=4,
            n_head=4,
            bos_token_id=0,
            eos_token_id=0,
        )
        self._model = AutoModelForCausalLM.from_config(config)

    def _pieces(self, texts: Sequence[str]) -> list[list[int]]:
        end = sorted(stops_of(self._model.config))[:1]
        rows = [encoding.ids + end for encoding in self._tokenizer.encode_batch(texts)]
        found = [piece for row in rows for piece in pieces(row, self._max_length)]
        if not found:
            raise DataUnreadable("The dataset's texts are too short: none has two tokens.")
        return found

    def _loss(self, batch: torch.Tensor) -> torch.Tensor:
        return self._cross_entropy([self._train[row] for row in batch.tolist()], "mean")

    def _measured(self) -> Mapping[str, float]:
        """The mean cross-entropy of a held-out token, and its exponential."""
        total, count = 0.0, 0
        with torch.inference_mode():
            for start in range(0, len(self._test), _ROWS_AT_ONCE):
                rows = self._test[start : start + _ROWS_AT_ONCE]
                total += float(self._cross_entropy(rows, "sum").item())
                count += sum(len(row) - 1 for row in rows)
        loss = total / count
        if not math.isfinite(loss):
            raise ArithmeticError(f"The loss became {loss}.")
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}

    def _cross_entropy(self, rows: Sequence[Sequence[int]], reduction: str) -> torch.Tensor:
        ids, mask = padded(rows, padding(self._model.config), self._device)
        logits = self._model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1]).logits
        targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, _NO_TARGET)
        return functional.cross_entropy(logits.transpose(1, 2).float(), targets, reduction=reduction)


def pieces(tokens: list[int], length: int) -> list[list[int]]:
    """`tokens` in pieces from which `length` are read; they overlap by one, so that each but the first is predicted."""
    return [tokens[start : start + length + 1] for start in range(0, len(tokens) - 1, length)]


def read_texts(dataset: Path, column: str) -> list[str]:
    """The texts of a table's column, or the paragraphs of a .txt file (its lines, if it has too few paragraphs).

    Raises `DataUnreadable`.
    """
    if dataset.is_file() and dataset.suffix.lower() == ".txt":
        texts = _paragraphs(dataset)
    else:
        frame = read_table(dataset)
        name = choose_text_column(frame, column)
        if not is_text(frame[name]):
            raise DataUnreadable(f"The column {name!r} holds no texts. Name another textColumn.")
        texts = list(frame[name].dropna())
    texts = [text for text in texts if text.strip()]
    if len(texts) < MINIMUM_ROWS:
        raise DataUnreadable(f"The dataset has too few texts: {len(texts)}, and at least {MINIMUM_ROWS} are needed.")
    return texts


def _paragraphs(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataUnreadable(
            f"The dataset is not UTF-8 text: byte {error.start} is wrong. Save it as UTF-8."
        ) from error
    paragraphs = [paragraph.strip("\n") for paragraph in re.split(r"\n\s*\n", content) if paragraph.strip()]
    return paragraphs if len(paragraphs) >= MINIMUM_ROWS else [line for line in content.splitlines() if line.strip()]
