"""`python -m inference_server.measuring FOLDER`: load a model as a server does, and print its facts as JSON.

Run it in a fresh process: what is measured is what a server of this model imports and needs, and nothing else.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import inference_server.main  # noqa: F401 - what a server has in memory before it has a model
from inference_server.card import ModelCard
from inference_server.facts import Facts
from inference_server.families.base import Family, load_family, served

THREADS = 1
LARGEST_BATCH = 256
_SECONDS = 0.3  # for each size of a batch
_CALLS = 200  # enough for a p99
_GAIN = 0.9  # a larger batch must take less than this share of the time a row
_EXAMPLE_LIMITS = {"text_generation": 16}  # rows that are computed at once there


def measure(folder: Path) -> Facts:
    """Load the model in `folder` and predict its card's example. Raises what loading and predicting raise."""
    started = time.perf_counter()
    card = ModelCard.read(folder)
    family = load_family(folder, card, "cpu", THREADS)
    rows = family.parse(card.input_example)
    family.render(family.predict(rows))
    load_seconds = time.perf_counter() - started
    single = _timed(family, [rows[0]])
    best, batch = _best_batch(family, rows, single, _EXAMPLE_LIMITS.get(card.family, LARGEST_BATCH))
    return Facts(
        *served(family, card),
        load_seconds=round(load_seconds, 4),
        peak_memory_bytes=_peak_memory(),
        best_batch=best,
        row_p50_seconds=_percentile(single, 50),
        row_p99_seconds=_percentile(single, 99),
        batch_p50_seconds=_percentile(batch, 50),
        batch_p99_seconds=_percentile(batch, 99),
    )


def _best_batch(family: Family, rows: Sequence[Any], single: list[float], largest: int) -> tuple[int, list[float]]:
    """The number of rows from which on more do not pay, and the times of a batch of so many."""
    best, times, size = 1, single, 2
    while size <= largest and times[-1] < _SECONDS:
        found = _timed(family, [rows[i % len(rows)] for i in range(size)])
        if _percentile(found, 50) / size < _GAIN * _percentile(times, 50) / best:
            best, times = size, found
        elif size > 4 * best:
            break
        size *= 2
    return best, times


def _timed(family: Family, rows: Sequence[Any]) -> list[float]:
    """Seconds of each of up to `_CALLS` predictions, for at most about `_SECONDS`; the first does not count."""
    family.predict(rows)
    times: list[float] = []
    until = time.perf_counter() + _SECONDS
    while len(times) < _CALLS and (not times or time.perf_counter() < until):
        start = time.perf_counter()
        family.predict(rows)
        times.append(time.perf_counter() - start)
    return times


def _percentile(times: Sequence[float], percent: int) -> float:
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 7)


def _peak_memory() -> int:
    """Of this process alone: what `getrusage` says is also the parent's, which made it."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1])).to_json()) + "\n")
