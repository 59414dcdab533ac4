"""Quantities: Kubernetes notation for CPU, memory and time, read into plain integers and written back."""

from __future__ import annotations

import re
from datetime import timedelta

_MEMORY_UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_TIME_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def cpu_millis(text: str) -> int:
    """`500m` or `1.5` cores as thousandths of a core. Raises ValueError with a sentence."""
    if match := re.fullmatch(r"(\d+)m", text):
        millis = int(match[1])
    elif re.fullmatch(r"\d+(\.\d{1,3})?", text):
        millis = round(float(text) * 1000)
    else:
        raise ValueError(f"{text!r} is no CPU quantity; write 500m or 1.5")
    if millis < 1:
        raise ValueError("CPU must be more than 0")
    return millis


def memory_bytes(text: str) -> int:
    """`2Gi`, `512Mi` or plain bytes. Raises ValueError with a sentence."""
    match = re.fullmatch(r"(\d+)(|k|M|G|T|Ki|Mi|Gi|Ti)", text)
    if match is None:
        raise ValueError(f"{text!r} is no memory quantity; write 512Mi or 2Gi")
    size = int(match[1]) * _MEMORY_UNITS[match[2]]
    if size < 1:
        raise ValueError("memory must be more than 0")
    return size


def duration(text: str) -> timedelta:
    """`90s`, `10m`, `2h` or `1d`; a bare number means seconds. Raises ValueError with a sentence."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90s, 10m, 2h or 1d")
    return timedelta(seconds=int(match[1]) * _TIME_UNITS[match[2] or "s"])
