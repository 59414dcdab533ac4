"""What the Kubernetes runtime may be told: where it acts, with which images, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """All times are seconds.

    `kubeconfig` None means: the gateway runs in the cluster. `registry` stands before the images of profiles, never
    before one that a request names. `secret` is the Secret whose keys are the names in a program's `secrets`.
    `work_claim` is a ReadWriteMany PersistentVolumeClaim for the work folders of jobs; without one they are emptyDirs,
    and an interrupted job begins anew. `gpus` overrides what the nodes show.
    """

    namespace: str = "modelyard"
    kubeconfig: Path | None = None
    registry: str = ""
    secret: str = "modelyard-task-secrets"  # noqa: S105 - a name
    pull_policy: str = "IfNotPresent"
    work_claim: str = ""
    gpus: int | None = None
    reach: Literal["pod", "service", "apiserver"] = "pod"  # how predictions go to pods
    user: int = 10001  # that programs run as
    job_grace: int = 40
    server_grace: int = 75  # above the deadline of a prediction
    drain: int = 5  # from a server's removal from the routes to its SIGTERM
    period: float = 1.0  # between two looks when nothing calls
