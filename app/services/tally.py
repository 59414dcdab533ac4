"""What is counted of predictions that are answered later, for `/metrics`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """`deferred_predictions_pending{task}`, which this gateway carries, and `deferred_predictions_total{outcome}`.

    The outcome is `done` (a status below 400), `failed`, or `refused`: another gateway had taken it over meanwhile.
    """

    def __init__(self, registry: CollectorRegistry, pending: Callable[[], Mapping[str, int]]) -> None:
        self._pending = pending
        self._outcomes = Counter({"done": 0, "failed": 0, "refused": 0})
        self._taken_over = 0
        registry.register(self)

    def count(self, status: int | None) -> None:
        """An answer with this status was recorded; None: it was refused."""
        self._outcomes["refused" if status is None else "done" if status < 400 else "failed"] += 1

    def take(self, count: int) -> None:
        """So many were taken over."""
        self._taken_over += count

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        pending = GaugeMetricFamily(
            "deferred_predictions_pending",
            "Predictions to be answered later, carried by this gateway.",
            labels=["task"],
        )
        for task_id, count in self._pending().items():
            pending.add_metric([task_id], count)
        outcomes = CounterMetricFamily(
            "deferred_predictions", "Predictions that were to be answered later, by what came of them.",
            labels=["outcome"],
        )  # fmt: skip
        for outcome, count in self._outcomes.items():
            outcomes.add_metric([outcome], count)
        yield pending
        yield outcomes
        yield CounterMetricFamily(
            "deferred_predictions_taken_over", "Predictions taken over from other gateways.", value=self._taken_over
        )
