"""What the wakes that this gateway led took, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from app.core.scaling import Wake

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)  # seconds


class WakeMetrics:
    """`deployment_wake_phase_seconds{phase}` and `deployment_wake_seconds`, over all deployments, so that labels stay
    few; what one deployment took is in its status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = Histogram(
            "deployment_wake_seconds",
            "Seconds from the decision to start a first replica until one was ready.",
            buckets=BOUNDS,
            registry=registry,
        )
        self._phases = Histogram(
            "deployment_wake_phase_seconds",
            "The same by phase: schedule, pull, start, fetch, load, warmUp.",
            labelnames=["phase"],
            buckets=BOUNDS,
            registry=registry,
        )

    def record(self, task_id: str, wake: Wake) -> None:
        self._total.observe(wake.total)
        for phase, seconds in wake.seconds.items():
            self._phases.labels(phase.value).observe(seconds)
