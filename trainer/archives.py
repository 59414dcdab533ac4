"""Archives: zip and tar are unpacked into a folder, and nothing in them gets out of it or fills the disk."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from trainer.families.base import DataUnreadable
from trainer.formats import Format

MAX_FILES = 2_000_000
MAX_RATIO = 100  # unpacked bytes for each packed one; images stay near 1, a bomb is beyond 1,000
_FREE_BYTES = 64 << 20  # below this size the ratio does not matter
_CHUNK_BYTES = 1 << 20
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, OSError, RuntimeError, ValueError),
)

_Member = tuple[str, IO[bytes]]


def unpack(archive: Path, kind: Format, folder: Path) -> None:
    """Write the archive's files below `folder`. Raises `DataUnreadable` for links, paths that lead out, and bombs."""
    allowed = archive.stat().st_size * MAX_RATIO + _FREE_BYTES
    folder.mkdir(parents=True)
    try:
        for count, (name, content) in enumerate((_zip_members if kind is Format.ZIP else _tar_members)(archive)):
            if count >= MAX_FILES:
                raise DataUnreadable(f"The archive holds more than {MAX_FILES} files.")
            with content:
                allowed -= _write(content, folder / _inside(name), allowed)
    except _BROKEN as error:
        raise DataUnreadable(f"The {kind} archive is broken: {str(error) or type(error).__name__}.") from error


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataUnreadable(f"The archive holds a link or a device, {info.filename[:100]!r}; it is refused.")
            if info.flag_bits & 1:
                raise DataUnreadable("The archive is encrypted; pack it without a password.")
            if not info.is_dir():
                yield info.filename, opened.open(info)


def _tar_members(archive: Path) -> Iterator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if not (info.isreg() or info.isdir()):
                raise DataUnreadable(f"The archive holds a link or a device, {info.name[:100]!r}; it is refused.")
            if info.isreg() and (content := opened.extractfile(info)):
                yield info.name, content
            vars(opened)["members"] = []  # it remembers them all otherwise


def _inside(name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DataUnreadable(f"The archive holds a path that leads out of it, {name[:100]!r}; it is refused.")
    return Path(path)


def _write(content: IO[bytes], target: Path, allowed: int) -> int:
    """The bytes written. What the archive says of its sizes is not believed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as handle:
        while chunk := content.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > allowed:
                raise DataUnreadable(f"The archive unpacks to more than {MAX_RATIO} times its size; it is refused.")
            handle.write(chunk)
    return written
