"""The model card: `modelyard.json` beside a model's files says which family loads them and what goes in and out.

The inference server owns the definition; the trainer writes it. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FILE_NAME = "modelyard.json"
FORMAT = 1


class CardUnreadable(Exception):  # noqa: N818
    """The card is missing or does not say what it must; the text says what."""


@dataclass(frozen=True)
class ModelCard:
    """What the server must know before it loads a model.

    `family` names the module in `inference_server/families`. `input_example` is a predict request's `data`, small and
    known to be answered. `classes` are the names of a classifier's classes in the order of its outputs; None otherwise.
    `details` belongs to the family: feature names and kinds, an architecture and its sizes, limits on text length.
    `compiled` says what came of compiling the model (see `trainer/compilation`); None if nobody tried.
    """

    family: str
    input_example: Mapping[str, Any]
    target: str | None = None
    classes: tuple[str | int | float | bool, ...] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    compiled: Mapping[str, Any] | None = None
    format: int = FORMAT

    @property
    def is_compiled(self) -> bool:
        """Whether a compiled form lies beside the original and answers as it does."""
        return bool(self.compiled and self.compiled.get("isEqual"))

    def write(self, directory: Path) -> None:
        (directory / FILE_NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> ModelCard:
        try:
            content = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise CardUnreadable(f"The model has no {FILE_NAME}: it was not logged by Modelyard's trainer.") from error
        except ValueError as error:
            raise CardUnreadable(f"{FILE_NAME} is not JSON: {error}") from error
        return cls._from_content(content)

    @classmethod
    def _from_content(cls, content: object) -> ModelCard:
        if not isinstance(content, dict) or not {"family", "input_example"} <= set(content):
            raise CardUnreadable(f"{FILE_NAME} must be an object with family and input_example.")
        if content.get("format") != FORMAT:
            raise CardUnreadable(f"{FILE_NAME} has format {content.get('format')!r}; this server reads {FORMAT}.")
        if unknown := sorted(set(content) - {f.name for f in fields(cls)}):
            raise CardUnreadable(f"{FILE_NAME} has unknown fields: {', '.join(unknown)}.")
        for name, (kind, words) in _TYPES.items():
            if content.get(name) is not None and not isinstance(content[name], kind):
                raise CardUnreadable(f"{FILE_NAME}: {name} must be {words}.")
        classes = content.get("classes")
        return cls(**{**content, "classes": None if classes is None else tuple(classes)})


_TYPES: Mapping[str, tuple[type, str]] = {
    "family": (str, "a text"),
    "input_example": (dict, "an object"),
    "target": (str, "a text"),
    "classes": (list, "a list"),
    "details": (dict, "an object"),
    "compiled": (dict, "an object"),
}
