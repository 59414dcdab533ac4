"""The journal: each epoch's metrics in a file of the work folder, so that none is lost while MLflow is away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    """One epoch's metrics; `at` is the time in milliseconds since 1970, the same however often they are sent."""

    epoch: int
    at: int
    metrics: Mapping[str, float]


class Journal:
    """A file of JSON lines, one an epoch, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: Entry) -> None:
        with self._path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(entry)) + "\n")

    def rewind(self, epoch: int) -> list[Entry]:
        """Forget what came after `epoch`, which is to be done again; return the rest."""
        kept = [entry for entry in self._read() if entry.epoch <= epoch]
        draft = self._path.with_suffix(".new")
        draft.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in kept), encoding="utf-8")
        draft.replace(self._path)
        return kept

    def _read(self) -> list[Entry]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [
            Entry(**json.loads(line)) for line in lines if line.endswith("}}")
        ]  # a killed writer leaves half a line
