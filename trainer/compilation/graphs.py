"""What a compiler gives: graphs that should answer as the model does, the one to be tried first first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference_server.card import ModelCard


class NotCompilable(Exception):  # noqa: N818
    """No equal graph can be had for this model; the sentence says why and is shown with the deployment."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A graph, as an `onnx.ModelProto`, and what the serving side must know besides of its inputs, for the card."""

    graph: Any
    inputs: Mapping[str, Any] = field(default_factory=dict)


Compiler = Callable[[Path, ModelCard], Iterator[Candidate]]
"""May raise `NotCompilable` and, as nobody can say what else converters raise, anything: it runs in its own process."""
