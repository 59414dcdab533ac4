"""What the records of one server mean: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.core.addresses import Address
from app.core.conditions import Termination
from app.core.scaling import StartPhase
from app.runtimes.base import ProcessState, ReplicaObservation, ServerObservation
from app.runtimes.kubernetes.asking import READY, Words, words_of
from app.runtimes.kubernetes.places import Why, why_no_pod, why_waiting
from app.runtimes.kubernetes.reach import Reach
from app.runtimes.kubernetes.records import PodRecord, ServerRecord
from app.runtimes.kubernetes.shortage import Room
from app.runtimes.kubernetes.termination import of_container

Said = Mapping[str, Words]  # by pod: what it says of itself


def observe(server: ServerRecord, pods: Sequence[PodRecord], said: Said, gpus: Room, reach: Reach) -> ServerObservation:
    """`pods` the oldest first: a replica's number is its place among them."""
    living = replicas(pods)
    seen = [
        _replica(f"{server.name}-{index}", pod, said, gpus, reach.address(server, pod) if pod.running_since else None)
        for index, pod in enumerate(living)
    ]
    wanted = 0 if server.deleting else server.wanted
    if server.trouble:
        why = why_no_pod(server.trouble)
        first_of_rollout = int(all(pod.digest != server.digest for pod in living))
        seen += [
            ReplicaObservation(f"{server.name}-{index}", why.state, why.reason, why.message, digest=server.digest)
            for index in range(len(seen), max(wanted, len(seen) + first_of_rollout))
        ]
    return ServerObservation(server.name, server.uid, wanted, tuple(seen), digest=server.digest)


def must_make_room(server: ServerRecord, pods: Sequence[PodRecord]) -> bool:
    """Whether a new pod of its rollout waits for a GPU, of which an old one may hold the last."""
    new = [pod for pod in pods if pod.digest == server.digest and not pod.deleting]
    starved = any(pod.unschedulable and not pod.node and pod.gpus for pod in new)
    holds = any(pod.digest != server.digest and not pod.is_final for pod in pods)
    return starved and holds and not server.in_place and not any(pod.deleting for pod in pods)


def replicas(pods: Sequence[PodRecord]) -> list[PodRecord]:
    """Without those that were evicted: the cluster leaves them lying and makes others in their place."""
    return [pod for pod in pods if not pod.is_final or pod.deleting]


def _replica(name: str, pod: PodRecord, said: Said, gpus: Room, address: Address | None) -> ReplicaObservation:
    why = _why(pod, said, gpus)
    end = pod.ended or pod.last_end
    return ReplicaObservation(
        name,
        why.state,
        why.reason,
        why.message,
        address=address,
        restarts=pod.restarts,
        last_termination=of_container(end) if end else None,
        digest=pod.digest,
        phase=_phase(pod, said),
        seconds=words_of(pod, said).seconds,
    )


def _phase(pod: PodRecord, said: Said) -> StartPhase:
    if pod.running_since is not None:
        return words_of(pod, said).phase
    return StartPhase.PULL if pod.node else StartPhase.SCHEDULE


def _why(pod: PodRecord, said: Said, gpus: Room) -> Why:
    if pod.deleting:
        return Why(ProcessState.STOPPING, "Stopped", "It was told to stop and has not ended yet.")
    if pod.running_since is not None:
        words = words_of(pod, said)
        if pod.ready or words.reason == READY:
            return Why(ProcessState.RUNNING, "", "")
        return Why(ProcessState.STARTING, words.reason, words.message)
    if end := pod.ended or pod.last_end:
        found: Termination = of_container(end)
        return Why(ProcessState.EXITED, found.reason, f"{found.message} It will be started again.")
    return why_waiting(pod, gpus)
