"""Formats: what kind of file a dataset is, told by its content first and by its suffix second."""

from __future__ import annotations

import re
import tarfile
import zlib
from enum import StrEnum
from pathlib import Path

from trainer.families.base import DataUnreadable


class Format(StrEnum):
    CSV = "CSV"
    PARQUET = "Parquet"
    JSON_LINES = "JSON lines"
    ZIP = "zip"
    TAR = "tar"


_HEAD_BYTES = 4096
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SUFFIXES = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".jsonl": Format.JSON_LINES,
    ".ndjson": Format.JSON_LINES,
    ".zip": Format.ZIP,
    ".tar": Format.TAR,
    ".tgz": Format.TAR,
}


def sniff(path: Path) -> Format:
    """The format of the file. Raises `DataUnreadable` for an empty file and for what is none of the formats."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    if not head.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise DataUnreadable("The dataset is empty.")
    return _by_magic(head, path) or _text_format(head, path)


def archive_format(path: Path) -> Format | None:
    """Zip or tar, if the file is one of these. A `.skops` file, a zip too, is one file to those who read it."""
    with path.open("rb") as handle:
        found = _by_magic(handle.read(_HEAD_BYTES), path)
    return found if found in (Format.ZIP, Format.TAR) and path.suffix != ".skops" else None


def _by_magic(head: bytes, path: Path) -> Format | None:
    if head.startswith(b"PAR1"):
        return Format.PARQUET
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Format.ZIP
    if head[257:262] == b"ustar" or (head.startswith(_COMPRESSED) and _is_tar(path)):
        return Format.TAR
    return None


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (EOFError, zlib.error):  # what is_tarfile lets through for damaged compression
        return False


def _text_format(head: bytes, path: Path) -> Format:
    by_suffix = _SUFFIXES.get(path.suffix.lower())
    if head.startswith(_UTF16_MARKS):
        raise DataUnreadable("The dataset is UTF-16 text. Save it as UTF-8.")
    if head.startswith(_COMPRESSED):
        raise DataUnreadable("The dataset is compressed but holds no tar archive. Unpack it, or use zip or tar.gz.")
    if b"\0" in head:
        raise DataUnreadable("The dataset is neither CSV, Parquet, JSON lines, zip nor tar.")
    if by_suffix not in (None, Format.JSON_LINES):
        raise DataUnreadable(
            f"The dataset is named {path.suffix} but does not begin as {by_suffix} does: it is broken."
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype|html|\?xml)", start, re.IGNORECASE):
        raise DataUnreadable("The dataset is a web page (HTML or XML), not a table. Check the address.")
    if start.startswith(b"["):
        raise DataUnreadable("The dataset is one JSON array. Write JSON lines instead: one object a line.")
    if by_suffix is Format.JSON_LINES or (start.startswith(b"{") and path.suffix.lower() != ".csv"):
        return Format.JSON_LINES
    return Format.CSV
