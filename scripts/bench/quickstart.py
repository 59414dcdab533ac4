"""From nothing running to a prediction, packages installed: yard up, train, deploy, predict, in a new home folder."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from servers import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
YARD = [sys.executable, "-m", "modelyard.cli"]


def one_run(home: Path) -> tuple[float, float]:
    """Seconds of `yard up` until all is ready, and from there to the prediction."""
    port, tracking = free_port(), free_port()
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MLOPS_HOME": str(home)}
    environment |= {"MLOPS_HTTP__PORT": str(port), "MLOPS_TRACKING__PORT": str(tracking)}
    environment["MODELYARD_URL"] = f"http://127.0.0.1:{port}"
    try:
        began = time.monotonic()
        run([*YARD, "up"], environment)
        up = time.monotonic()
        run([sys.executable, "scripts/quickstart.py"], environment)
        return up - began, time.monotonic() - up
    finally:
        run([*YARD, "down"], environment)


def run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    options = parser.parse_args()
    print(machine.describe())
    print("| yard up s | train, deploy, predict s | total s |\n|--:|--:|--:|")
    totals = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            up, rest = one_run(Path(folder) / "home")
        totals.append(up + rest)
        print(f"| {up:.1f} | {rest:.1f} | {up + rest:.1f} |", flush=True)
    print(f"Median {statistics.median(totals):.1f} s; bound 40 s.")


if __name__ == "__main__":
    main()
