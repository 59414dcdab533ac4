"""Compiling tables: a fitted scikit-learn model becomes one graph that reads rows as numbers.

skl2onnx converts the estimator. What stands before it is made here, as skl2onnx knows neither medians nor scales in
float64 nor rare categories: a category's columns are looked up in a table that scikit-learn itself has filled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto, compose
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

from inference_server.card import ModelCard
from inference_server.families.rows import Feature, features_of
from inference_server.families.skops_reader import read_skops
from inference_server.families.split_pipeline import SplitPipeline
from inference_server.families.tabular import MODEL_FILE
from trainer.compilation.columns import Columns, rescaling
from trainer.compilation.graphs import Candidate, NotCompilable

OPERATOR_SETS = {"": 21, "ai.onnx.ml": 3}
_TREES = "TreeEnsemble"


def graphs(folder: Path, card: ModelCard) -> Iterator[Candidate]:
    """The graphs of the model in `folder`, whose file is `model.skops`."""
    yield from graphs_of(read_skops(folder / MODEL_FILE), features_of(card.details))


def graphs_of(model: Any, features: Sequence[Feature]) -> Iterator[Candidate]:
    """In float64, as scikit-learn computes, then in float32; trees the other way, as scikit-learn rounds for them."""
    columns, estimator = _parts(model, features)
    kinds = [DoubleTensorType, FloatTensorType]
    exact = _converted(estimator, columns.width, DoubleTensorType)
    if any(node.op_type.startswith(_TREES) for node in exact.graph.node):
        kinds.reverse()
    for kind in kinds:
        converted = exact if kind is DoubleTensorType else _converted(estimator, columns.width, kind)
        yield Candidate(_joined(columns, estimator, converted, kind is FloatTensorType), columns.inputs())


def _parts(model: Any, features: Sequence[Feature]) -> tuple[Columns, Any]:
    """What stands before the estimator, and the estimator."""
    if split := SplitPipeline.of(model, features):
        return Columns.of(split.branches, features), split.final
    if text := next((feature for feature in features if feature.kind == "category"), None):
        raise NotCompilable(f"The model reads the texts of {text.name!r} in a way for which no graph is known here.")
    return Columns.plain(features), model


def _converted(estimator: Any, width: int, kind: Any) -> ModelProto:
    inner = getattr(estimator, "regressor_", estimator)
    options = {id(inner): {"zipmap": False}} if hasattr(inner, "classes_") else None
    graph: ModelProto = convert_sklearn(
        inner, initial_types=[("matrix", kind([None, width]))], options=options, target_opset=OPERATOR_SETS
    )
    while len(graph.graph.output) > 1:  # the label: the likeliest class is chosen from the probabilities
        del graph.graph.output[0]
    return graph


def _joined(columns: Columns, estimator: Any, converted: ModelProto, in_float32: bool) -> ModelProto:
    before = columns.graph(converted, in_float32)
    whole: ModelProto = compose.merge_models(before, converted, io_map=[("matrix", "matrix")], prefix1="columns/")
    if not hasattr(estimator, "regressor_"):
        return whole
    after = rescaling(estimator.transformer_, whole)
    joint = [(whole.graph.output[0].name, "scaled")]
    rescaled: ModelProto = compose.merge_models(whole, after, io_map=joint, prefix2="target/")
    return rescaled
