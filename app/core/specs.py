"""Specs: frozen notes of what should run, written by planning in nobody's dialect and read by every runtime."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from inference_server.contract import Facts


@dataclass(frozen=True, slots=True)
class Resources:
    """What one process may use: CPU in thousandths of a core, memory in bytes, GPUs by count."""

    cpu_millis: int
    memory_bytes: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint of nodes that is put up with; empty fields match any. `seconds` is for how long after it appears."""

    key: str = ""
    operator: str = "Equal"  # or Exists, which takes no value
    value: str = ""
    effect: str = ""
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Which machines of a cluster are fit for it; one machine alone has no choice and leaves this aside."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    runtime_class: str = ""


@dataclass(frozen=True, slots=True)
class Program:
    """A Python program of ours: `python -m <module>`, with its letter in `environment`.

    `requires` are the Python packages that it imports, so that a runtime without images can refuse what cannot start;
    `install` is the command that brings them. `secrets` are names of environment variables: a runtime looks their
    values up at launch, so a spec never carries one.
    """

    module: str
    environment: Mapping[str, str]
    image: str
    requires: tuple[str, ...] = ()
    install: str = ""
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One training run. `name` follows from the task id; `uid` tells two lives of one name apart.

    `start_deadline` bounds the wait for its start, `run_deadline` the time from there to its end; one that was
    interrupted and goes on has both anew. With `queue` an admission queue of the cluster decides when the wait begins.
    """

    name: str
    task_id: str
    uid: str
    program: Program
    resources: Resources
    start_deadline: timedelta
    labels: Mapping[str, str] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    run_deadline: timedelta | None = None
    queue: str = ""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """One deployed model: `replicas` equal processes that answer HTTP and say at `health_path` when they are ready.

    `facts` are what was measured of the model when it was registered; None if nobody did.
    """

    name: str
    task_id: str
    uid: str
    program: Program
    resources: Resources
    start_deadline: timedelta
    replicas: int = 1
    health_path: str = "/health/ready"
    labels: Mapping[str, str] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    facts: Facts | None = None

    @property
    def digest(self) -> str:
        """What one replica is made of: replicas of equal digests are interchangeable, so a change of it is a rollout.

        The fields are named here one by one, so that a version of the platform with more of them changes no digest.
        """
        program = self.program
        made_of = {
            "module": program.module,
            "environment": dict(program.environment),
            "image": program.image,
            "secrets": list(program.secrets),
            "resources": asdict(self.resources),
            "health": self.health_path,
            "deadline": self.start_deadline.total_seconds(),
        }
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


class Placeholders:
    """What a letter may leave for the runtime to fill in, because only the runtime knows it.

    They stand in environment values and are replaced as plain text at launch.
    """

    WORK_DIR = "{{work_dir}}"  # a folder that survives a restart of the same task
    TERMINATION_LOG = "{{termination_log}}"  # a file; its last content becomes the termination's reason and message
    LISTEN = "{{listen}}"  # host:port where a server shall listen; port 0 means any
    MODEL_CACHE = "{{model_cache}}"  # a folder for downloaded models, shared by servers where they can share one
    ADDRESS_FILE = "{{address_file}}"  # a file where a server on port 0 writes the host:port it got; may be empty
