"""What the proxy shows of each task's traffic; its labels are gone with its route, so that they stay bounded."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.proxy.traffic import BOUNDS, Traffic

_BUCKET_NAMES = (*(str(bound) for bound in BOUNDS), "+Inf")


class Metrics(Collector):
    """Registered in `registry`:

    `inference_requests_total{task,code}`: the code is of the answer that the client got; 499 means that it left
    without a complete one. `inference_duration_seconds{task}`: of those that were not refused at once.
    `inference_requests_refused_total{task}`: among the former, those refused at once because the deployment could not
    have answered them in time. `inference_requests_in_flight{task}` and `inference_requests_held{task}`: now.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._traffic: dict[str, Traffic] = {}
        registry.register(self)

    def open(self, task_id: str) -> Traffic:
        """Traffic that starts from nothing and is shown until it is closed."""
        traffic = self._traffic[task_id] = Traffic()
        return traffic

    def close(self, task_id: str) -> None:
        """Remove the labels; what is counted later is not shown. Idempotent."""
        self._traffic.pop(task_id, None)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "inference_requests", "Predictions that left the proxy, by status code.", labels=["task", "code"]
        )
        durations = HistogramMetricFamily(
            "inference_duration_seconds", "Seconds from a prediction's arrival to its answer's end.", labels=["task"]
        )
        refused = CounterMetricFamily(
            "inference_requests_refused", "Predictions refused at once, for want of capacity.", labels=["task"]
        )
        in_flight = GaugeMetricFamily(
            "inference_requests_in_flight", "Predictions given to a replica and not yet answered.", labels=["task"]
        )
        held = GaugeMetricFamily(
            "inference_requests_held", "Predictions that wait for a replica to be ready.", labels=["task"]
        )
        for task_id, traffic in list(self._traffic.items()):
            label = [task_id]
            for code, count in list(traffic.codes.items()):
                requests.add_metric([task_id, str(code)], count)
            buckets = list(zip(_BUCKET_NAMES, accumulate(traffic.buckets), strict=True))
            durations.add_metric(label, buckets, traffic.seconds)
            refused.add_metric(label, traffic.refused)
            in_flight.add_metric(label, traffic.present - traffic.held)
            held.add_metric(label, traffic.held)
        yield from (requests, durations, refused, in_flight, held)
