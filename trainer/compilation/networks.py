"""Compiling networks: PyTorch exports one graph, with what stands before and after the network in it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from inference_server.card import ModelCard
from inference_server.families import classifier
from inference_server.families.cnn import Architecture, ResidualNetwork
from inference_server.families.images import Scaling
from inference_server.families.text_classification import max_length_of
from inference_server.families.transformer import ENCODERS, load_transformer, padding, read_config
from inference_server.families.weights import FILE_NAME, load_weights
from trainer.compilation.graphs import Candidate

_ROWS = torch.export.Dim("rows", min=1, max=1 << 16)


def image_graphs(folder: Path, card: ModelCard) -> Iterator[Candidate]:
    """From pixels in bytes to probabilities."""
    architecture = Architecture.from_json(card.details.get("architecture"))
    scaling = Scaling.from_json(card.details.get("image"))
    network = load_weights(lambda: ResidualNetwork(architecture), folder / FILE_NAME, "cpu")
    pixels = torch.zeros((2, scaling.size, scaling.size, 3), dtype=torch.uint8)
    yield Candidate(_exported(_Images(network, scaling), {"pixels": pixels}, {"pixels": {0: _ROWS}}))


def text_graphs(folder: Path, card: ModelCard) -> Iterator[Candidate]:
    """From tokens and their mask to probabilities."""
    config = read_config(folder, ENCODERS, len(classifier.classes_of(card)))
    length = torch.export.Dim("length", min=1, max=max_length_of(card, config))
    model = load_transformer(folder, AutoModelForSequenceClassification, config, "cpu")
    ids = torch.full((2, max(3, length.max // 2)), padding(config))
    mask = torch.ones_like(ids)
    mask[1, 2:] = 0
    shape = {0: _ROWS, 1: length}
    graph = _exported(_Texts(model), {"ids": ids, "mask": mask}, {"ids": shape, "mask": shape})
    yield Candidate(graph, {"tokens": {"pad": padding(config), "vocabulary": config.vocab_size}})


def _exported(network: torch.nn.Module, inputs: Mapping[str, torch.Tensor], shapes: Mapping[str, Any]) -> Any:
    """The graph; what PyTorch says of its own and other packages' deprecations is nobody's concern here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), kwargs=dict(inputs), dynamo=True, external_data=False, dynamic_shapes=dict(shapes),
            input_names=list(inputs), output_names=["probabilities"], verbose=False,
        )  # fmt: skip
    return program.model_proto


class _Images(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, network: torch.nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self._network = network
        self._scaling = scaling

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self._network(self._scaling.normalized(pixels)).double(), dim=1)


class _Texts(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self._model(input_ids=ids, attention_mask=mask).logits.double(), dim=1)
