"""Digests: one checksum for a file, and one for all files of a model. Standard library only.

The trainer writes a model's digest down before the upload; the server refuses files that do not match it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_digest(path: Path) -> str:
    """`sha256:<hex>` of the file's bytes, read in chunks."""
    with path.open("rb") as handle:
        return f"sha256:{hashlib.file_digest(handle, 'sha256').hexdigest()}"


def directory_digest(directory: Path) -> str:
    """`sha256:<hex>` over the names, relative and sorted, and the contents of all files below `directory`.

    Folders count only by the files in them. A link counts as what it points to.
    """
    total = hashlib.sha256()
    for name, path in sorted((path.relative_to(directory).as_posix(), path) for path in _files(directory)):
        total.update(f"{file_digest(path)} {name}\0".encode())  # no file name holds a NUL, so no two folders read alike
    return f"sha256:{total.hexdigest()}"


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]
