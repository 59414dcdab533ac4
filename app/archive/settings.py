"""What an archive may be told, and the archive that is meant."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from app.archive.base import Archive
from app.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """`url` is `s3://bucket/prefix` or `file:///folder`. Without an endpoint, a region or keys the usual AWS variables
    and files count."""

    url: str
    endpoint: str = ""
    region: str = ""
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)


def open_archive(settings: ArchiveSettings) -> Archive:
    """Raises `ConfigurationError`. Sends and makes nothing yet."""
    from app.archive.folder import FolderArchive
    from app.archive.s3 import S3Archive

    url = urlsplit(settings.url)
    if url.scheme == "file" and url.netloc in ("", "localhost") and url.path.startswith("/"):
        return FolderArchive(Path(unquote(url.path)))
    if url.scheme == "s3" and url.hostname and not url.username:
        return S3Archive(url.netloc, url.path.strip("/"), settings)
    raise ConfigurationError("MLOPS_LOGS__URL must be s3://bucket/prefix or file:///an/absolute/folder.")
