"""What the kernel says of this boot and of its processes; a pid alone is never believed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


@cache
def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


class Moment(NamedTuple):
    """A moment whose age survives a restart of the gateway and, within one boot, a jump of the clock."""

    at: float
    boot: str
    uptime: float

    @classmethod
    def now(cls) -> Moment:
        return cls(time.time(), boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))

    @property
    def age(self) -> float:
        now = Moment.now()
        return now.uptime - self.uptime if now.boot == self.boot else now.at - self.at


class ProcessId(NamedTuple):
    """A process beyond doubt: pids are used again, the three together are not."""

    pid: int
    start: int  # in clock ticks since the boot
    boot: str

    @property
    def alive(self) -> bool:
        return self.boot == boot_id() and _start_time(self.pid) == self.start

    @property
    def age(self) -> float:
        """Seconds since it began, by a clock that nobody sets. Only while `boot` is this one."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start / os.sysconf("SC_CLK_TCK")

    def open(self) -> int | None:
        """A pidfd of this very process, or None if it is gone; the caller closes it."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive:  # asked after opening: from here on the descriptor cannot come to mean another process
            return descriptor
        os.close(descriptor)
        return None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this very process; one that is gone is no error."""
        descriptor = self.open()
        if descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
            os.close(descriptor)


def _start_time(pid: int) -> int | None:
    """The 22nd field of /proc/PID/stat, or None for a process that is gone or a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def kill_all_with(variable: str, value: str) -> None:
    """Kill every process in whose environment `variable` has this value: what a dead witness left behind."""
    wanted = f"{variable}={value}".encode()
    for pid in _pids():
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if wanted in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in os.scandir(PROC) if entry.name.isdigit())
