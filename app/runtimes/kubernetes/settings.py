"""What the Kubernetes runtime may be told: where it acts, with which images, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.core.errors import ConfigurationError
from app.runtimes.kubernetes.images import is_place


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """All times are seconds.

    `kubeconfig` None means: the gateway runs in the cluster. `registry` stands before the images of profiles, never
    before one that a request names. `secret` is the Secret whose keys are the names in a program's `secrets`.
    `work_claim` is a ReadWriteMany PersistentVolumeClaim for the work folders of jobs; without one they are emptyDirs,
    and an interrupted job begins anew. `model_cache` is where model servers keep what they fetched: a folder that every
    node has (`/...`), a claim that pods share, or nothing for one of each pod's own; each holds `model_cache_bytes`.
    `gpus` overrides what the nodes show. `trainer_images` are the registries and repositories whose images a request
    may name. `queue` is where jobs wait that name none, if the cluster has Kueue.

    `job_ttl`, if given, is when the cluster may remove a Job that has ended, with its pods and what they logged: far
    above the longest time without a gateway, for what is removed before its end was recorded counts as lost.
    `node_patience` is how long a job on a node that is silent is believed to run: as long as Kubernetes itself waits
    before it gives up such a node's pods, because a node that only cannot be reached goes on with its work.
    """

    namespace: str = "modelyard"
    kubeconfig: Path | None = None
    registry: str = ""
    secret: str = "modelyard-task-secrets"  # noqa: S105 - a name
    pull_policy: str = "IfNotPresent"
    work_claim: str = ""
    model_cache: str = ""
    model_cache_bytes: int = 20 << 30
    gpus: int | None = None
    reach: Literal["pod", "service", "apiserver"] = "pod"  # how predictions go to pods
    trainer_images: tuple[str, ...] = ("localhost:5002",)
    queue: str = ""
    job_ttl: int | None = None
    node_patience: float = 300
    user: int = 10001  # that programs run as
    job_grace: int = 40
    server_grace: int = 75  # above the deadline of a prediction
    drain: int = 5  # from a server's removal from the routes to its SIGTERM
    period: float = 1.0  # between two looks when nothing calls

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` for what is no registry and no repository."""
        if wrong := [place for place in self.trainer_images if not is_place(place)]:
            raise ConfigurationError(
                f"MLOPS_KUBERNETES__TRAINER_IMAGES: {', '.join(map(repr, wrong))}: write a registry or a repository "
                "without a tag, such as registry.example/team; several with commas between them."
            )

    @property
    def image_places(self) -> tuple[str, ...]:
        """Whose images a request may name: those that were allowed, and the platform's own registry."""
        return (*self.trainer_images, *([self.registry] if self.registry else []))
