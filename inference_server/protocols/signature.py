"""The signature of a model: its inputs and outputs as tensors with names, derived from its card.

What protocols send, rows or columns, becomes the `data` that its family's `parse` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference_server.card import ModelCard
from inference_server.families.rows import Feature, features_of
from inference_server.problems import BodyUnreadable
from inference_server.words import short

DATATYPES: Mapping[str, str] = {"number": "FP64", "category": "BYTES", "boolean": "BOOL"}
"""By a feature's kind; the names of the Open Inference Protocol."""

SHOWN_NAMES = 20


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """One input or output. `shape` has -1 where any length will do; `labels` name the columns of probabilities."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    labels: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """`items` is the field of `data` that holds what is predicted: `features`, `images` or `texts`."""

    family: str
    items: str
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    features: tuple[Feature, ...] = field(default=())

    @classmethod
    def of(cls, card: ModelCard) -> Signature:
        """Raises `ModelUnreadable` if the card's features are none."""
        outputs = _outputs(card)
        if "features" in card.details:
            features = features_of(card.details)
            inputs = tuple(TensorFacts(f.name, DATATYPES[f.kind], (-1, 1)) for f in features)
            return cls(card.family, "features", inputs, outputs, features)
        if "image" in card.details:
            return cls(card.family, "images", (TensorFacts("images", "UINT8", (-1, -1, -1, 3)),), outputs)
        return cls(card.family, "texts", (TensorFacts("texts", "BYTES", (-1,)),), outputs)

    @property
    def generates(self) -> bool:
        """Whether its texts can be streamed while they are written."""
        return self.family == "text_generation"

    def of_items(self, items: Sequence[object], options: Mapping[str, object] | None = None) -> dict[str, object]:
        """Data from one item a prediction: a row, an image, a text, or an object with just one of them."""
        if self.items != "features":
            items = [_unwrapped(item) for item in items]
        return {self.items: items, **(options or {})}

    def of_columns(
        self, columns: Mapping[str, Sequence[object]], options: Mapping[str, object] | None = None
    ) -> dict[str, object]:
        """Data from a list of values for each column. Raises `BodyUnreadable` unless they are the model's columns."""
        if self.items == "features":
            self._check(columns)
            return {"features": columns, **(options or {})}
        if len(columns) != 1:
            raise BodyUnreadable(f"The model reads {self.items} only, but {len(columns)} inputs were sent.")
        return self.of_items(next(iter(columns.values())), options)

    def _check(self, columns: Mapping[str, object]) -> None:
        known = [feature.name for feature in self.features]
        if columns.keys() == set(known):
            return
        if missing := [name for name in known if name not in columns]:
            raise BodyUnreadable(f"Missing are the inputs {_listed(missing)}; the model reads {_listed(known)}.")
        unknown = [name for name in columns if name not in known]
        raise BodyUnreadable(f"The model knows no inputs {_listed(unknown)}; it reads {_listed(known)}.")


def _outputs(card: ModelCard) -> tuple[TensorFacts, ...]:
    if card.classes is None:
        return (TensorFacts("predictions", "BYTES" if card.family == "text_generation" else "FP64", (-1,)),)
    kinds = {type(name) for name in card.classes}
    datatype = {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"
    return (
        TensorFacts("predictions", datatype, (-1,)),
        TensorFacts("probabilities", "FP64", (-1, len(card.classes)), card.classes),
    )


def _unwrapped(item: object) -> object:
    """The value of an object that has one, as `{"text": ...}`, or TensorFlow Serving's `{"b64": ...}`, maybe in it."""
    for _ in range(2):
        if isinstance(item, dict) and len(item) == 1:
            item = next(iter(item.values()))
    return item


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(short(str(name)) for name in names[:SHOWN_NAMES]) + more
