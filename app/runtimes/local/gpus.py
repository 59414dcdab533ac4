"""GPUs, handed out by count: which there are, who holds them, and who has to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"


def devices(environment: Mapping[str, str], count: int | None, folder: Path = Path("/dev")) -> tuple[str, ...]:
    """What may be handed out: the first `count` that the gateway itself may see, or that this machine has."""
    if VISIBLE in environment:
        found = [device.strip() for device in environment[VISIBLE].split(",") if device.strip()]
    else:
        numbers = [int(path.name[6:]) for path in folder.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
        found = [str(number) for number in sorted(numbers)]
    if count is None:
        return tuple(found)
    return tuple(found[:count]) if len(found) >= count else tuple(str(number) for number in range(count))


class Pool:
    """The GPUs of one look at the world. Tasks are served in the order in which they ask: a small one never overtakes
    a large one that waits, so a large one gets its turn."""

    def __init__(self, every: tuple[str, ...], held: Mapping[str, tuple[str, ...]]) -> None:
        self._every = every
        self._held = {holder: gpus for holder, gpus in held.items() if gpus}
        self._first_waiting = ""

    def take(self, holder: str, count: int) -> tuple[str, ...] | None:
        """`count` GPUs for `holder`, or None if it has to wait."""
        free = self._free()
        if count and (len(free) < count or self._first_waiting):
            self._first_waiting = self._first_waiting or holder
            return None
        if count:
            self._held[holder] = free[:count]
        return free[:count]

    def has(self, count: int) -> bool:
        """Whether `count` GPUs could be taken now."""
        return not count or (len(self._free()) >= count and not self._first_waiting)

    def why_waiting(self, holder: str, count: int) -> str:
        """The sentence for one that was told to wait."""
        holders = ", ".join(f"{name} ({len(gpus)})" for name, gpus in sorted(self._held.items())) or "nobody"
        queue = f" {self._first_waiting} is first in line." if self._first_waiting not in ("", holder) else ""
        free = f"{len(self._free())} of {len(self._every)} are free"
        return f"It asks for {_gpus(count)}; {free}, held by: {holders}.{queue}"

    def _free(self) -> tuple[str, ...]:
        taken = {gpu for gpus in self._held.values() for gpu in gpus}
        return tuple(gpu for gpu in self._every if gpu not in taken)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"
