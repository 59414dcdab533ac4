"""Compiling: the first graph that answers as the original does is kept beside it, with what was compared."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference_server.card import ModelCard
from inference_server.families.base import CompiledUnusable, load_compiled, load_original
from inference_server.families.graph import FILE_NAME
from trainer.compilation import harder
from trainer.compilation.comparing import compare
from trainer.compilation.graphs import Candidate, Compiler, NotCompilable

COMPILERS: Mapping[str, tuple[str, str]] = {
    "tabular_regression": ("trainer.compilation.tables", "graphs"),
    "tabular_classification": ("trainer.compilation.tables", "graphs"),
    "image_classification": ("trainer.compilation.networks", "image_graphs"),
    "text_classification": ("trainer.compilation.networks", "text_graphs"),
}


def compile_model(folder: Path, held_out: Sequence[Any]) -> Mapping[str, Any]:
    """What the card of the model in `folder` is to say as `compiled`; the graph lies beside it if it is equal.

    `held_out` are the `data` of predict requests, of rows that were not learnt from.
    """
    card = ModelCard.read(folder)
    reasons = []
    try:
        for candidate in _compiler(card)(folder, card):
            compiled = _tried(folder, card, candidate, held_out)
            if compiled["isEqual"]:
                return compiled
            reasons.append(compiled["reason"])
    except NotCompilable as error:
        reasons.append(str(error))
    (folder / FILE_NAME).unlink(missing_ok=True)
    return {"isEqual": False, "reason": reasons[-1]}


def _compiler(card: ModelCard) -> Compiler:
    if card.family not in COMPILERS:
        raise NotCompilable(f"Models of the family {card.family} are not compiled: they answer step by step.")
    module, name = COMPILERS[card.family]
    compiler: Compiler = getattr(importlib.import_module(module), name)
    return compiler


def _tried(folder: Path, card: ModelCard, candidate: Candidate, held_out: Sequence[Any]) -> dict[str, Any]:
    (folder / FILE_NAME).write_bytes(candidate.graph.SerializeToString())
    try:
        compiled = load_compiled(folder, replace(card, compiled=candidate.inputs), threads=1)
    except CompiledUnusable as error:
        return {"isEqual": False, "reason": str(error)}
    requests = [*held_out, *harder.requests(card, held_out)]
    comparison = compare(load_original(folder, card), compiled, requests)
    return {**comparison.to_json(), "reason": comparison.sentence(), **candidate.inputs}
