"""The platform's images on the test cluster: each tagged with a digest of what it is made of, so that it is built only
when that changes. What a Dockerfile is made of is what it copies.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
REGISTRY = "localhost"
DOCKERFILES = {"gateway": "fastapi", "mlflow": "mlflow", "trainer": "trainer", "inference": "inference"}
STANDINS = ("localhost/standin-postgres:latest", "localhost/standin-s3:latest")
_COPY = re.compile(r"^COPY ((?:\S+ )+)\S+$", re.MULTILINE)
CLUSTER = CHECKOUT.parent / "shared" / "testcluster" / "cluster"
UNPROVED = (
    "No way to build images for this cluster, so it stays unproved that the platform deploys: name a command in "
    "MODELYARD_BUILDER that builds and loads one (see scripts/images.sh)."
)


def built_images(present: set[str]) -> dict[str, str]:
    """The full names of the images by their short ones; those that the node lacks are built into it."""
    if not present.issuperset(STANDINS):
        if not CLUSTER.exists():
            pytest.skip(f"The cluster lacks {', '.join(STANDINS)}, so it stays unproved that the platform deploys.")
        subprocess.run([CLUSTER, "standins"], check=True, timeout=900)
    names = {name: f"{REGISTRY}/modelyard-{name}:{_digest(file)}" for name, file in DOCKERFILES.items()}
    for name, full in names.items():
        if full not in present:
            _build(name, full.rpartition(":")[2])
    return names


def _build(name: str, tag: str) -> None:
    builder = os.environ.get("MODELYARD_BUILDER") or (f"{CLUSTER} build" if CLUSTER.exists() else "")
    if not builder:
        pytest.skip(UNPROVED)
    options = ["--registry", REGISTRY, "--tag", tag, "--builder", builder]
    subprocess.run([CHECKOUT / "scripts" / "images.sh", "build", name, *options], check=True, timeout=900)


def _digest(dockerfile: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(_inputs(CHECKOUT / "docker" / f"Dockerfile.{dockerfile}")):
        digest.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _inputs(dockerfile: Path) -> Iterator[Path]:
    yield dockerfile
    for copied in _COPY.findall(dockerfile.read_text()):
        for name in copied.split():
            yield from _files(CHECKOUT / name)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    yield from (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
