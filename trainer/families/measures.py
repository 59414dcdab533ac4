"""Measures: how well a classifier tells the held-out rows apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from inference_server.families.classifier import Probabilities

Class = str | int | float | bool
Labels = npt.NDArray[np.int64]


def measures(outputs: Sequence[Probabilities], labels: Labels) -> Mapping[str, float]:
    """Accuracy, F1 averaged over the classes that occur, and the mean cross-entropy."""
    probabilities = np.stack(outputs)
    predicted = probabilities.argmax(axis=1)
    of_label = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1_macro": _f1_macro(predicted, labels, probabilities.shape[1]),
        "loss": float(-np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean()),
    }


def _f1_macro(predicted: Labels, labels: Labels, classes: int) -> float:
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    seen = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float((2 * hits[seen > 0] / seen[seen > 0]).mean())
