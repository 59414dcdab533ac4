"""Cards of a model of each kind."""

from __future__ import annotations

from inference_server.card import ModelCard
from inference_server.protocols.signature import Signature

FEATURES = [
    {"name": "age", "kind": "number"},
    {"name": "city", "kind": "category"},
    {"name": "member", "kind": "boolean"},
]
MIXED = Signature.of(ModelCard("tabular_classification", {}, classes=("poor", "rich"), details={"features": FEATURES}))
NUMBERS = Signature.of(
    ModelCard(
        "tabular_regression",
        {},
        target="price",
        details={"features": [{"name": name, "kind": "number"} for name in ("a", "b", "c")]},
    )
)
IMAGES = Signature.of(ModelCard("image_classification", {}, classes=(0, 1), details={"image": {"size": 4}}))
TEXTS = Signature.of(ModelCard("text_classification", {}, classes=(True, False), details={"text": {}}))
WRITER = Signature.of(ModelCard("text_generation", {}))

CLASSIFIED = {
    "predictions": ["rich", "poor"],
    "probabilities": [{"poor": 0.25, "rich": 0.75}, {"poor": 1.0, "rich": 0.0}],
    "target": "wealth",
}
