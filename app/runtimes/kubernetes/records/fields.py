"""What the records of every kind read alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from app.core import quantities
from app.runtimes.kubernetes.manifests import Manifest
from app.runtimes.kubernetes.watch import version_of


def head(found: Manifest) -> tuple[str, int, str]:
    metadata = found["metadata"]
    return metadata["name"], version_of(found), metadata["uid"]


def notes_of(found: Manifest) -> dict[str, str]:
    return found.get("metadata", {}).get("annotations") or {}


def is_deleting(found: Manifest) -> bool:
    return "deletionTimestamp" in found["metadata"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def cpu_of(amounts: Mapping[str, str]) -> int:
    """In thousandths of a core; 0 for what nobody said, or in words that we do not read."""
    try:
        return quantities.cpu_millis(amounts.get("cpu", ""))
    except ValueError:
        return 0


def memory_of(amounts: Mapping[str, str]) -> int:
    """In bytes; 0 as above."""
    try:
        return quantities.memory_bytes(amounts.get("memory", ""))
    except ValueError:
        return 0
