"""What is around jobs and servers: nodes, and what the cluster complains of."""

from __future__ import annotations

from dataclasses import dataclass

from app.runtimes.kubernetes.manifests import GPU, Manifest
from app.runtimes.kubernetes.records.fields import cpu_of, head, memory_of


@dataclass(frozen=True, slots=True)
class NodeRecord:
    name: str
    version: int
    gpus: int
    cpu: int  # thousandths of a core that pods may ask for
    memory: int  # bytes

    @property
    def offers(self) -> tuple[int, int, int]:
        return self.gpus, self.cpu, self.memory


@dataclass(frozen=True, slots=True)
class EventRecord:
    """The last thing that the cluster complained of about one object."""

    name: str
    version: int
    task: str
    about: str
    message: str


def node_record(found: Manifest, old: NodeRecord | None) -> NodeRecord:
    name, version, _ = head(found)
    amounts = found.get("status", {}).get("allocatable", {})
    return NodeRecord(name, version, int(amounts.get(GPU, 0)), cpu_of(amounts), memory_of(amounts))


def event_record(found: Manifest, old: EventRecord | None) -> EventRecord:
    name, version, _ = head(found)
    about = found["involvedObject"]
    return EventRecord(name, version, about.get("name", ""), about.get("uid", ""), found.get("message", ""))
