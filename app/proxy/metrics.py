"""What the proxy counts: one meter a route, gone with its route, so that labels stay bounded.

Meters are plain numbers of one event loop: the library's own counters take a lock for each of theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BUCKET_NAMES = (*(str(bound) for bound in BOUNDS), "+Inf")


class Meter:
    """Counts one route's answers by status, and their durations in seconds."""

    __slots__ = ("buckets", "codes", "seconds")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.buckets = [0] * len(_BUCKET_NAMES)
        self.seconds = 0.0

    def record(self, code: int, seconds: float) -> None:
        self.codes[code] = self.codes.get(code, 0) + 1
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Metrics(Collector):
    """`inference_requests_total{task,code}` and `inference_duration_seconds{task}`, registered in `registry`.

    The code is of the answer that the client got; 499 means that it left without a complete one.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._meters: dict[str, Meter] = {}
        registry.register(self)

    def open(self, task_id: str) -> Meter:
        """A meter that starts from nothing and is shown until it is closed."""
        meter = self._meters[task_id] = Meter()
        return meter

    def close(self, task_id: str) -> None:
        """Remove the labels; what is recorded later is not shown. Idempotent."""
        self._meters.pop(task_id, None)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        requests = CounterMetricFamily(
            "inference_requests", "Predictions that left the proxy, by status code.", labels=["task", "code"]
        )
        durations = HistogramMetricFamily(
            "inference_duration_seconds", "Seconds from a prediction's arrival to its answer's end.", labels=["task"]
        )
        for task_id, meter in list(self._meters.items()):
            for code, count in list(meter.codes.items()):
                requests.add_metric([task_id, str(code)], count)
            buckets = list(zip(_BUCKET_NAMES, accumulate(meter.buckets), strict=True))
            durations.add_metric([task_id], buckets, meter.seconds)
        yield requests
        yield durations
