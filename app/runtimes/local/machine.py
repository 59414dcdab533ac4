"""What this machine has for what runs on it: memory and CPU cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def total_memory(groups: Path = GROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Bytes: the machine's memory, or the lowest limit of the control groups that hold this process."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(groups, own_groups)])


def _limits(groups: Path, own_groups: Path) -> Iterator[int]:
    """A container may not see the folders above its own, so what is not there limits nothing."""
    lines = own_groups.read_text().splitlines() if own_groups.exists() else []
    for _, controllers, group in (line.split(":", 2) for line in lines):
        if controllers == "":
            top, name = groups, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = groups / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = PurePosixPath(group.lstrip("/"))
        for folder in (inner, *inner.parents):
            limit = top / folder / name
            if limit.exists() and (text := limit.read_text().strip()).isdigit():
                yield int(text)
