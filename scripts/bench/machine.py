"""What this machine is doing: CPU seconds of process trees, and how many cores' worth of work is not ours."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
QUIET = 0.25  # cores of foreign work that a round may see and still count


def describe() -> str:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}"


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked since its start."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, iowait = ticks[3], ticks[4]
    return (sum(ticks) - idle - iowait) / TICK


def own_seconds() -> float:
    """CPU seconds of this process, of all that descends from it, and of the children that it has waited for."""
    total = sum(os.times()[:4])
    for pid in descendants(os.getpid()):
        fields = _stat(pid)
        total += (int(fields[11]) + int(fields[12])) / TICK if fields else 0
    return total


def process_seconds(root: int) -> float:
    """CPU seconds of one process and all that descends from it."""
    stats = [_stat(pid) for pid in [root, *descendants(root)]]
    return sum((int(fields[11]) + int(fields[12])) / TICK for fields in stats if fields)


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; none if the process is gone."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    """A file of /proc/PID; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def born(pid: int) -> str:
    """What tells this process from a later one with the same id; empty if it is gone."""
    fields = _stat(pid)
    return fields[19] if fields else ""


class Foreign:
    """Measures, from its making on, the cores that others keep busy."""

    def __init__(self) -> None:
        self._begin = time.monotonic(), busy_seconds(), own_seconds()

    def cores(self) -> float:
        clock, busy, own = self._begin
        return max(0.0, (busy_seconds() - busy - own_seconds() + own) / (time.monotonic() - clock))


def wait_until_quiet(limit: float) -> bool:
    """Wait at most `limit` seconds for a second in which others do little."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        foreign = Foreign()
        time.sleep(1)
        if foreign.cores() < QUIET:
            return True
    return False


def memory_megabytes(root: int) -> tuple[float, float]:
    """Of one process and all that descends from it: the sums of resident and of proportional memory.

    The first counts what processes share in each of them, the second shares it out, also with processes that are not
    of this tree.
    """
    total = {"Rss": 0, "Pss": 0}
    for pid in [root, *descendants(root)]:
        for line in _read(pid, "smaps_rollup").splitlines():
            name, _, rest = line.partition(":")
            if name in total:
                total[name] += int(rest.split()[0])
    return total["Rss"] / 1000 * 1.024, total["Pss"] / 1000 * 1.024


def resident_megabytes(pid: int) -> float:
    """Resident memory of one process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
