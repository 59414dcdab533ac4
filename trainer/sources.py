"""Sources: data from a path, http(s):// or s3:// comes into the work folder, in chunks, with its digest."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from inference_server.digest import directory_digest
from trainer import s3
from trainer.addresses import shown
from trainer.archives import unpack
from trainer.families.base import DataUnreadable
from trainer.formats import archive_format

log = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = (10, 60)  # to connect; between two chunks
_OK = 200


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, or the folder of an unpacked archive; `digest` is `sha256:<hex>` of what came from the source."""

    path: Path
    digest: str
    size: int


def fetch(source: str, folder: Path, what: str = "dataset") -> Fetched:
    """Bring `source` into `folder`; what an earlier start brought is used again. A folder on a path stays where it is.

    Archives are unpacked. Raises `DataUnreadable`, whose sentence calls the thing `what`.
    """
    if known := _known(folder, source):
        return known
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fetched = _fetch(source, folder, what)
    note = {"source": source, "path": str(fetched.path), "digest": fetched.digest, "size": fetched.size}
    draft = folder / "fetched.new"
    draft.write_text(json.dumps(note), encoding="utf-8")
    draft.replace(folder / "fetched.json")
    log.info("Fetched the %s %s: %d bytes, %s.", what, shown(source), fetched.size, fetched.digest[:19])
    return fetched


def _known(folder: Path, source: str) -> Fetched | None:
    try:
        note = json.loads((folder / "fetched.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fetched = Fetched(Path(note["path"]), note["digest"], note["size"])
    return fetched if note["source"] == source and fetched.path.exists() else None


def _fetch(source: str, folder: Path, what: str) -> Fetched:
    scheme = urlsplit(source).scheme
    if scheme == "s3" and s3.is_folder(source):
        s3.download_folder(source, folder / "files", what)
        return _fetched_folder(folder / "files")
    if scheme == "s3":
        return _stored(s3.chunks(source, what), folder, source, what)
    if scheme in ("http", "https"):
        return _stored(_http_chunks(source, what), folder, source, what)
    if "://" in source:
        raise DataUnreadable(f"The {what}'s address begins with {scheme}://; use a path, s3:// or http(s)://.")
    return _from_path(Path(source), folder, what)


def _from_path(path: Path, folder: Path, what: str) -> Fetched:
    if path.is_dir():
        return _fetched_folder(path)
    if path.exists() and not path.is_file():  # a device never ends, a pipe may never begin
        raise DataUnreadable(f"The {what} {path} is neither a file nor a folder.")
    try:
        with path.open("rb") as handle:
            return _stored(iter(lambda: handle.read(CHUNK_BYTES), b""), folder, str(path), what)
    except FileNotFoundError as error:
        raise DataUnreadable(f"The {what} {path} does not exist.") from error
    except PermissionError as error:
        raise DataUnreadable(f"The {what} {path} may not be read by the trainer.") from error


def _fetched_folder(path: Path) -> Fetched:
    try:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Fetched(path, directory_digest(path), size)
    except OSError as error:
        raise DataUnreadable(f"The folder {path} cannot be read whole: {error.strerror}.") from error


def _stored(chunks: Iterable[bytes], folder: Path, source: str, what: str) -> Fetched:
    """The chunks as a file of the source's name, and unpacked if it is an archive."""
    file, digest = folder / _name(source, what), hashlib.sha256()
    with file.open("wb") as handle:
        for chunk in chunks:
            digest.update(chunk)
            handle.write(chunk)
    size = file.stat().st_size
    if size == 0:
        raise DataUnreadable(f"The {what} {shown(source)} is empty.")
    fetched = Fetched(file, f"sha256:{digest.hexdigest()}", size)
    archive = archive_format(file)
    if archive is None:
        return fetched
    unpack(file, archive, folder / "files")
    return Fetched(folder / "files", fetched.digest, size)


def _name(source: str, what: str) -> str:
    """The last part of the source's path, made harmless: only its suffix has a meaning."""
    name = PurePosixPath(unquote(urlsplit(source).path)).name
    harmless = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")[-100:]
    return harmless or what


def _http_chunks(source: str, what: str) -> Iterator[bytes]:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    address = shown(source)
    try:
        with requests.Session() as session:
            retry = Retry(3, backoff_factor=0.2, status_forcelist=(502, 503, 504), raise_on_status=False)
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.mount("https://", HTTPAdapter(max_retries=retry))
            with session.get(source, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
                if answer.status_code != _OK:
                    raise DataUnreadable(
                        f"The {what} {address} is not available: the server answered {answer.status_code}."
                    )
                yield from answer.iter_content(CHUNK_BYTES)
    except requests.RequestException as error:
        raise DataUnreadable(f"The {what} {address} cannot be fetched: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    """A class name in words: the text of these errors may repeat the address with what is secret in it."""
    return {"ConnectionError": "the server cannot be reached", "ReadTimeout": "the server stopped answering"}.get(
        type(error).__name__, type(error).__name__
    )
