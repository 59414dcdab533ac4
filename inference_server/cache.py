"""Fetched models, kept by digest: fetched once, checked at every start, shared by all servers on this machine."""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.rest import Unwritable

log = logging.getLogger(__name__)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ModelCache:
    """A folder with one folder a model. A server that is killed at any moment leaves it usable."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def fetched(self, digest: str, fetch: Callable[[Path], None]) -> Path:
        """The folder whose files have this digest; if it is not here yet, `fetch` is given an empty folder to fill.

        Raises `ModelUnreadable` if the files are not those, `Unwritable` if the disk does not play along.
        """
        if not DIGEST.fullmatch(digest):
            raise ModelUnreadable(f"The model's digest {digest!r:.100} is not sha256 and 64 hexadecimal digits.")
        name = digest.replace(":", "-")
        try:
            with self._locked(name):
                return self._kept(name, digest) or self._fetched_anew(name, digest, fetch)
        except OSError as error:
            raise Unwritable(f"The model cache {self._root} cannot be used: {error.strerror or error}.") from error

    def _kept(self, name: str, digest: str) -> Path | None:
        folder = self._root / name
        if not folder.is_dir():
            return None
        if directory_digest(folder) == digest:
            return folder
        log.warning("The cached model %s was changed; it is fetched again.", name)
        shutil.rmtree(folder)
        return None

    def _fetched_anew(self, name: str, digest: str, fetch: Callable[[Path], None]) -> Path:
        part = self._root / f"{name}.part"
        if part.exists():  # left by a server that was killed: nobody else is here while the lock is ours
            shutil.rmtree(part)
        part.mkdir()
        fetch(part)
        found = directory_digest(part)
        if found != digest:
            shutil.rmtree(part)
            raise ModelUnreadable(
                f"The model's files are not those that were logged (expected {digest}, found {found})."
            )
        return part.rename(self._root / name)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One server at a time for this model; the lock ends with the process that holds it."""
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / f"{name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
