"""Comparing: whether a compiled model answers as the original, request by request, and by how much it differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference_server.families.base import Family

TOLERANCE = 1e-5
"""Of a probability; of a predicted number, as a share of its size or of the average one's, whichever is larger."""

REFUSALS = (ArithmeticError, ValueError)  # what a model raises that cannot compute an answer


@dataclass(slots=True)
class Comparison:
    """`rows` were compared; of so many the class differed, or one of the two had no answer."""

    rows: int = 0
    different_classes: int = 0
    different_refusals: int = 0
    largest_difference: float = 0.0

    @property
    def is_equal(self) -> bool:
        return not (self.different_classes or self.different_refusals) and self.largest_difference <= TOLERANCE

    def sentence(self) -> str:
        classes = f"{self.different_classes} classes differ" if self.different_classes else "the classes are equal"
        refused = f", {self.different_refusals} requests are answered by one alone" if self.different_refusals else ""
        found = f"{classes}{refused}, and numbers differ by {self.largest_difference:.2g} at most"
        verdict = "Compiled, and equal" if self.is_equal else "Compiled, but not equal, so the original is served"
        return f"{verdict}: of {self.rows} held-out rows {found} ({TOLERANCE:g} is allowed)."

    def to_json(self) -> Mapping[str, Any]:
        return {
            "isEqual": self.is_equal,
            "rows": self.rows,
            "differentClasses": self.different_classes,
            "largestDifference": self.largest_difference,
            "tolerance": TOLERANCE,
        }


def compare(original: Family, compiled: Family, requests: Iterable[Any]) -> Comparison:
    """Ask both for each of `requests`, the `data` of predict requests."""
    comparison = Comparison()
    for data in requests:
        rows = original.parse(data)
        comparison.rows += len(rows)
        expected, found = _outputs(original, rows), _outputs(compiled, compiled.parse(data))
        if expected is None or found is None:
            comparison.different_refusals += (expected is None) != (found is None)
            continue
        comparison.different_classes += _different_classes(original, expected, compiled, found)
        comparison.largest_difference = max(comparison.largest_difference, difference(expected, found))
    return comparison


def difference(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """The largest one. Infinite if the outputs are not of one shape or not finite."""
    wanted, given = np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)
    if wanted.shape != given.shape or not np.isfinite(given).all():
        return float("inf")
    if wanted.ndim > 1:  # probabilities
        return float(np.abs(wanted - given).max())
    size = np.maximum(np.abs(wanted), np.abs(wanted).mean())
    apart = np.abs(wanted - given)
    return float((apart[apart > 0] / size[apart > 0]).max(initial=0.0))


def _outputs(family: Family, rows: Sequence[Any]) -> Sequence[Any] | None:
    try:
        return family.predict(rows)
    except REFUSALS:
        return None


def _different_classes(original: Family, expected: Sequence[Any], compiled: Family, found: Sequence[Any]) -> int:
    answers = original.render(expected), compiled.render(found)
    if "probabilities" not in answers[0]:
        return 0
    return sum(one != other for one, other in zip(*(answer["predictions"] for answer in answers), strict=True))
