"""The gateway at rest and with a past: start time, idle memory, and GET status with 10,000 finished jobs in its store.

The floor beside it is the same gateway with an empty store, in the same run. MLflow and trainers are not started.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import machine
from servers import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))


@contextlib.contextmanager
def gateway(home: Path) -> Iterator[tuple[int, int, float]]:
    """A running gateway: its port, its process id, and the seconds from its start to its first answer."""
    port, tracking = free_port(), free_port()
    environment = {**os.environ, "MLOPS_HOME": str(home), "MLOPS_HTTP__PORT": str(port)}
    environment["MLOPS_TRACKING__URI"] = f"http://127.0.0.1:{tracking}"  # nobody is there: MLflow is not measured
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "app"], cwd=CHECKOUT, env=environment, stderr=subprocess.DEVNULL)
    try:
        while not answers(port):
            if process.poll() is not None or time.monotonic() - began > 60:
                raise RuntimeError("The gateway did not start.")
            time.sleep(0.01)
        yield port, process.pid, time.monotonic() - began
    finally:
        process.terminate()
        process.wait(20)


def answers(port: int) -> bool:
    try:
        return get(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/livez") == 200
    except OSError:
        return False


def get(connection: http.client.HTTPConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


async def fill(home: Path, count: int) -> None:
    """Write `count` succeeded jobs into the store of `home`, as a gateway would have left them."""
    from app.core.conditions import Condition, JobPhase, Status, Termination
    from app.core.profiles import Profiles
    from app.core.settings import Settings
    from app.core.tasks import Desired, Job, JobStatus
    from app.schemas.training import TrainRequest
    from app.services.planning import Planner
    from app.store.database import Database
    from app.store.jobs import JobStore

    settings, now = Settings(home=home), datetime.now(UTC)
    database = Database(settings.store_url)
    await database.migrate()
    store, planner = JobStore(database), Planner(Profiles.read(settings.profiles), settings.tracking_uri, 300)
    conditions = tuple(
        Condition(type_, Status.TRUE, type_, "As it should be.", now)
        for type_ in ("Accepted", "Scheduled", "Started", "Complete")
    )
    done = Termination("Completed", 0, None, "Trained 100 epochs on 353 rows.", now)
    status = JobStatus(conditions, JobPhase.SUCCEEDED, 100.0, {"r2": 0.5, "mse": 3.0}, "0" * 32, done, (), now, now)
    for number in range(count):
        request = TrainRequest.model_validate(
            {"taskId": f"job-{number}", "experimentName": "Bench", "modelProfile": "tabular_regression",
             "customModelName": "m", "datasetPath": "/d.csv", "hyperparameters": {"numEpoch": 100}}
        )  # fmt: skip
        uid = str(uuid.uuid4())
        spec = planner.job(request, uid)
        body = request.model_dump(by_alias=True, mode="json")
        await store.add(Job(0, request.task_id, uid, body, spec, Desired.RUN, status, now))
    await database.close()


def latencies(port: int, count: int, seconds: int, rate: int = 100) -> list[float]:
    """Milliseconds of each GET status, `rate` a second, over the jobs in turn."""
    connection, times = http.client.HTTPConnection("127.0.0.1", port, timeout=10), []
    begin = time.monotonic()
    for number in range(seconds * rate):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        before = time.perf_counter()
        status = get(connection, f"/api/v1/train/jobs/job-{number * 7919 % count}/status")
        times.append((time.perf_counter() - before) * 1000)
        if status != 200:
            raise RuntimeError(f"GET status answered {status}")
    return times


def measure(jobs: int, seconds: int) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(fill(Path(folder), jobs))
        with gateway(Path(folder)) as (port, pid, start):
            time.sleep(3)
            idle = machine.resident_megabytes(pid)
            times = sorted(latencies(port, jobs, seconds))
            after = machine.resident_megabytes(pid)
    p99 = times[int(len(times) * 0.99)]
    return [f"{jobs:,}", f"{start:.2f}", f"{idle:.0f}", f"{after:.0f}", f"{statistics.median(times):.2f}", f"{p99:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000, help="finished jobs in the store (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="of load at 100 requests/s (default %(default)s)")
    options = parser.parse_args()
    print(machine.describe())
    print("| finished jobs | start s | idle MB | MB under load | GET status p50 ms | p99 ms |")
    print("|--:|--:|--:|--:|--:|--:|")
    for jobs in (1, options.jobs):
        print("| " + " | ".join(measure(jobs, options.seconds)) + " |", flush=True)
    print("Bounds: start 3 s, idle 150 MB, p99 10 ms, the same with few jobs and with many.")


if __name__ == "__main__":
    main()
