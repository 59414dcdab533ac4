"""Which Python packages the interpreter that runs the programs can import, without importing them."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

QUESTION = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n) is None))"
PATIENCE = 30


class Frameworks:
    """What was found stays found; what was missing is looked for again, as a user may have installed it meanwhile."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self._found: set[str] = set()

    def missing(self, packages: Collection[str]) -> list[str]:
        """Those of `packages` that cannot be imported, in their order."""
        wanted = [package.partition(".")[0] for package in packages if package not in self._found]
        if not wanted:
            return []
        absent = _absent_here(wanted) if str(self._python) == sys.executable else self._absent_there(wanted)
        self._found.update(set(wanted) - set(absent))
        return absent

    def _absent_there(self, packages: list[str]) -> list[str]:
        """Raises OSError or subprocess.SubprocessError if the interpreter does not answer."""
        command = [str(self._python), "-P", "-c", QUESTION, *packages]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout.split()


def _absent_here(packages: list[str]) -> list[str]:
    importlib.invalidate_caches()
    return [package for package in packages if importlib.util.find_spec(package) is None]
