"""Text classification, training: a transformer encoder fitted to a table's texts and their classes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, DistilBertConfig

from inference_server.card import ModelCard
from inference_server.families.padding import padded
from inference_server.families.text_classification import TextClassification as Serving
from inference_server.families.texts import MAX_CHARACTERS
from inference_server.families.tokens import FILE_NAME as TOKENIZER
from inference_server.families.transformer import ENCODERS, padding, save_config
from inference_server.families.weights import FILE_NAME, save_weights
from trainer.datasets import choose_target, choose_text_column, is_text, read_table, split_indices
from trainer.families import labels
from trainer.families.base import DataUnreadable
from trainer.families.fitting import Fitted, Fitting, Settings
from trainer.families.measures import Class, Labels, measures
from trainer.families.pretrained import load_pretrained
from trainer.families.vocabulary import learn_tokenizer
from trainer.families.warm_start import card_of, check_classes

log = logging.getLogger(__name__)

FAMILY = "text_classification"

_SPECIALS = ("<pad>", "<cls>", "<sep>")
_TEMPLATE = "<cls> $A <sep>"
_EXAMPLE_CHARACTERS = 200
_COMPARED_TEXTS = 200


class TextClassification(Fitted):
    """See `trainer.families.base.Family`."""

    _texts: list[str]
    _classes: tuple[Class, ...]
    _labels: Labels
    _train: npt.NDArray[np.intp]
    _test: npt.NDArray[np.intp]
    _tokenizer: Tokenizer
    _model: Any
    _rows: list[list[int]]
    _serving: Serving

    def __init__(self, hyperparameters: Mapping[str, Any], device: str) -> None:
        self._settings = Settings.of(hyperparameters, device)
        self._device = device
        self._max_length = int(hyperparameters["maxLength"])
        self._text = str(hyperparameters["textColumn"])
        self._target = str(hyperparameters["targetColumn"])

    def prepare(self, dataset: Path, initial: Path | None) -> None:
        settings = self._settings
        settings.begin()
        self._read(dataset)
        self._train, self._test = split_indices(len(self._labels), settings.test_fraction, settings.seed, self._labels)
        if initial is None:
            self._build()
        else:
            self._load(initial)
        self._model.config.id2label = {number: str(name) for number, name in enumerate(self._classes)}
        self._model.config.label2id = {str(name): number for number, name in enumerate(self._classes)}
        self._model.to(self._device).eval()
        self._serving = Serving(self._model, self._tokenizer, self._max_length, self._classes, self._device)
        self._rows = [encoding.ids for encoding in self._tokenizer.encode_batch(self._texts)]
        rows = len(self._train)
        self._fitting = Fitting(self._model, rows, self._loss, self._measured, self._settings)

    def measure(self) -> Mapping[str, float]:
        return {**self._measured(), "train_rows": len(self._train), "test_rows": len(self._test)}

    def save(self, folder: Path) -> ModelCard:
        save_weights(self._model, folder / FILE_NAME)
        save_config(self._model, folder)
        self._tokenizer.save(str(folder / TOKENIZER))
        return ModelCard(
            family=FAMILY,
            input_example={"texts": [self._texts[self._test[0]][:_EXAMPLE_CHARACTERS]]},
            target=self._target,
            classes=self._classes,
            details={"text": {"maxLength": self._max_length}},
        )

    def held_out(self) -> Sequence[Any]:
        return [{"texts": [self._texts[row][:MAX_CHARACTERS] for row in self._test[:_COMPARED_TEXTS]]}]

    def signature(self) -> Any:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        return ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("string", "predictions")]))

    def _read(self, dataset: Path) -> None:
        frame = read_table(dataset)
        text = choose_text_column(frame, self._text, besides=choose_target(frame, self._target))
        if not is_text(frame[text]):
            raise DataUnreadable(f"The column {text!r} holds no texts. Name another textColumn.")
        others = frame.drop(columns=text)
        if self._target == text or others.empty:
            raise DataUnreadable(f"The column {text!r} cannot be the text and the target as well.")
        self._target = choose_target(others, self._target)
        written = frame[frame[text].notna()]
        if missing := len(frame) - len(written):
            log.info("Left out %d row(s) without a text.", missing)
        known, values = labels.classes(written, self._target)
        names, self._labels = np.unique(values, return_inverse=True)
        self._classes = tuple(names.tolist())
        self._texts = [str(value) for value in known[text]]

    def _build(self) -> None:
        self._tokenizer = learn_tokenizer((self._texts[row] for row in self._train), _SPECIALS, _TEMPLATE)
        config = DistilBertConfig(
            vocab_size=self._tokenizer.get_vocab_size(),
            max_position_embeddings=self._max_length,
            dim=128,
            n_layers=3,
            n_heads=4,
            hidden_dim=512,
            pad_token_id=0,
            num_labels=len(self._classes),
        )
        self._model = AutoModelForSequenceClassification.from_config(config)

    def _load(self, initial: Path) -> None:
        if card := card_of(initial, FAMILY):
            check_classes(card, self._classes)
        self._model, self._tokenizer = load_pretrained(
            AutoModelForSequenceClassification, initial, ENCODERS, self._max_length, len(self._classes)
        )

    def _measured(self) -> Mapping[str, float]:
        """Measured with the class that serves."""
        return measures(self._serving.predict([self._rows[row] for row in self._test]), self._labels[self._test])

    def _loss(self, batch: torch.Tensor) -> torch.Tensor:
        rows = self._train[batch.numpy()]
        ids, mask = padded([self._rows[row] for row in rows], padding(self._model.config), self._device)
        logits = self._model(input_ids=ids, attention_mask=mask).logits
        return functional.cross_entropy(logits, torch.from_numpy(self._labels[rows]).to(self._device))
