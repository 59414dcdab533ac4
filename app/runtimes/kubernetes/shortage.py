"""What a pod that finds no node lacks: what it asks for, what is free, and what the scheduler says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.runtimes.kubernetes.manifests import GPU
from app.runtimes.kubernetes.records import PodRecord

_INSUFFICIENT = re.compile(r"Insufficient ([\w./-]+\w)")
_TAINT = re.compile(r"had (?:untolerated )?taint \{([^:}]*):\s*([^}]*)\}")
_SELECTOR = re.compile(r"didn't match (?:node selector|Pod's node affinity)")


class NodeRoom(NamedTuple):
    """CPU in thousandths of a core, memory in bytes. Free is what our own pods leave: others' are not shown to us."""

    cpu_free: int
    cpu: int
    memory_free: int
    memory: int


class Room(NamedTuple):
    """`total` GPUs in all nodes are None, and there are no `nodes`, where nodes may not be seen."""

    total: int | None
    used: int
    nodes: tuple[NodeRoom, ...] = ()

    def has(self, gpus: int) -> bool:
        """Whether so many are free now; what may not be seen is taken for free, as the scheduler will tell."""
        return not gpus or self.total is None or self.total - self.used >= gpus


def words(pod: PodRecord, room: Room) -> str:
    """Why there is no node for it. The scheduler's own words come last: they know of what we do not see."""
    return " ".join([*_short(pod, room), *_unfit(pod), f"The scheduler says: {pod.unschedulable}"])


def _short(pod: PodRecord, room: Room) -> Iterator[str]:
    short = set(_INSUFFICIENT.findall(pod.unschedulable))
    if GPU in short and pod.gpus:
        free = "" if room.total is None else f"; {max(0, room.total - room.used)} of {room.total} are free"
        yield f"It asks for {pod.gpus} GPU{'s' if pod.gpus > 1 else ''}{free}."
    if "cpu" in short and pod.cpu:
        free_cpu, cpu = max(((node.cpu_free, node.cpu) for node in room.nodes), default=(0, 0))
        yield f"It asks for {_cores(pod.cpu)} CPU{_room(pod.cpu, free_cpu, cpu, _cores)}."
    if "memory" in short and pod.memory:
        free_memory, memory = max(((node.memory_free, node.memory) for node in room.nodes), default=(0, 0))
        yield f"It asks for {_size(pod.memory)}{_room(pod.memory, free_memory, memory, _size)}."


def _room(asked: int, free: int, total: int, words: Callable[[int], str]) -> str:
    """What our own tasks leave. If that would do, other pods have it: we are not shown whose."""
    if not total:
        return ""
    if free >= asked:
        return f"; tasks leave {words(free)} of {words(total)} on a node, of which other pods hold too much"
    return f"; no node has more than {words(free)} of {words(total)} free"


def _unfit(pod: PodRecord) -> Iterator[str]:
    if _SELECTOR.search(pod.unschedulable) and pod.selector:
        labels = ", ".join(f"{key}={value}" for key, value in pod.selector)
        yield f"Its profile asks for a node with the label{'s' if len(pod.selector) > 1 else ''} {labels}."
    for key, value in dict(_TAINT.findall(pod.unschedulable)).items():
        yield f"Its profile does not tolerate the taint {f'{key}={value}' if value else key} of a node."


def _cores(millis: int) -> str:
    return f"{millis / 1000:g}"


def _size(count: int) -> str:
    return f"{count / (1 << 30):.4g} GiB"
