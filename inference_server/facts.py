"""Facts of a model, measured once before it is registered: what a server of it needs, and how fast it can be.

Standard library only: the server measures, the trainer stores them, the gateway reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

TAG = "modelyard.facts"
"""Of the run, of the logged model and of the model version: the facts as JSON."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Measured on one CPU thread of the machine that registered the model, in a fresh process like a server's.

    `served` is `compiled` or `original`, and `reason` says why. `peak_memory_bytes` is the most that the process had
    in memory while it loaded the model and predicted. A batch has `best_batch` rows: more do not pay, row by row.
    """

    served: str
    reason: str
    load_seconds: float
    peak_memory_bytes: int
    best_batch: int
    row_p50_seconds: float
    row_p99_seconds: float
    batch_p50_seconds: float
    batch_p99_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Names as on the wire."""
        return {wire: getattr(self, name) for name, wire in _WIRE.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Raises `ValueError`, `KeyError` or `TypeError` for anything that `to_json` did not write."""
        return cls(**{name: _KINDS[name](content[wire]) for name, wire in _WIRE.items()})

    def to_tag(self) -> str:
        return json.dumps(self.to_json())

    @classmethod
    def from_tag(cls, text: str | None) -> Self | None:
        """None if there is no such tag, or it says something else."""
        try:
            content = json.loads(text or "null")
            return cls.from_json(content) if isinstance(content, dict) else None
        except (ValueError, KeyError, TypeError):
            return None


_KINDS: Mapping[str, type[Any]] = {
    "served": str,
    "reason": str,
    "load_seconds": float,
    "peak_memory_bytes": int,
    "best_batch": int,
    "row_p50_seconds": float,
    "row_p99_seconds": float,
    "batch_p50_seconds": float,
    "batch_p99_seconds": float,
}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_WIRE = {name: _camel(name) for name in _KINDS}
