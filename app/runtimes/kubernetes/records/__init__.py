"""Records: what is kept of the cluster's objects, a few hundred bytes each; one module a kind."""

from app.runtimes.kubernetes.records.jobs import JobRecord, Stop, job_record
from app.runtimes.kubernetes.records.pods import Ended, PodRecord, pod_record
from app.runtimes.kubernetes.records.servers import ServerRecord, server_record
from app.runtimes.kubernetes.records.surroundings import EventRecord, NodeRecord, event_record, node_record

__all__ = [
    "Ended",
    "EventRecord",
    "JobRecord",
    "NodeRecord",
    "PodRecord",
    "ServerRecord",
    "Stop",
    "event_record",
    "job_record",
    "node_record",
    "pod_record",
    "server_record",
]
