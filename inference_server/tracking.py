"""What the server asks of MLflow, over plain REST: which model a run logged, with what digest, and its files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from inference_server.families.base import ModelUnreadable
from inference_server.rest import Refused, RestClient, Unwritable

DIGEST_TAG = "modelyard.model_digest"
MOST_FILES = 10_000
DEEPEST_FOLDER = 16

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model in MLflow. `digest` is what its files were when they were logged; None where nobody wrote it down."""

    model_id: str
    artifact_uri: str
    digest: str | None


class Tracking:
    """Every method may raise `ModelUnreadable`, and `Unavailable` when MLflow does not answer in time."""

    def __init__(self, client: RestClient, notice: Callable[[str], None]) -> None:
        self._client = client
        self._notice = notice

    def logged_model(self, run_id: str, model_id: str | None) -> LoggedModel:
        """The model `model_id`, or else the last one that the run logged."""
        run = self._known(f"run {run_id!r}", f"{_API}/runs/get", run_id=run_id)["run"]
        model_id = model_id or _last_output(run_id, run)
        model = self._known(f"logged model {model_id!r}", f"{_API}/logged-models/{quote(model_id, safe='')}")["model"]
        digest = _tags(model["info"]).get(DIGEST_TAG) or _tags(run["data"]).get(DIGEST_TAG)
        return LoggedModel(model_id, model["info"]["artifact_uri"], digest)

    def download(self, artifact_uri: str, folder: Path, announce: Callable[[int], None] = lambda _: None) -> None:
        """Copy all files below `artifact_uri` into the empty `folder`, whose bytes are announced before the first.

        May raise `Unwritable`, and whatever `announce` raises.
        """
        uri = urlsplit(artifact_uri)
        if uri.scheme == "mlflow-artifacts":
            self._download_served(unquote(uri.path).strip("/"), folder, announce)
        elif uri.scheme in ("", "file") and uri.netloc in ("", "localhost"):
            _copy_local(Path(unquote(uri.path)), folder, announce)
        else:
            raise ModelUnreadable(
                f"The model's files are in {uri.scheme}: storage, which this server does not read. "
                "Let MLflow serve them (mlflow server --serve-artifacts)."
            )

    def _known(self, what: str, path: str, **query: str) -> dict[str, Any]:
        try:
            return self._client.json(path, **query)
        except Refused as refusal:
            if refusal.status in (400, 404):
                raise ModelUnreadable(f"MLflow knows no {what}.") from refusal
            raise

    def _download_served(self, root: str, folder: Path, announce: Callable[[int], None]) -> None:
        files = list(islice(self._listed(root, ()), MOST_FILES + 1))
        if len(files) > MOST_FILES:
            raise ModelUnreadable(f"The model has more than {MOST_FILES} files; it is refused.")
        announce(sum(size for _, size in files))
        for number, (name, _) in enumerate(files, 1):
            self._notice(f"Fetching {'/'.join(name)} ({number} of {len(files)} files).")
            target = folder.joinpath(*name)
            _make_parent(target)
            self._client.save(f"{_ARTIFACTS}/{quote('/'.join((root, *name)))}", target)

    def _listed(self, root: str, below: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
        """The files below a folder, as parts of their names, and their sizes; 0 where the listing does not say.

        A listing holds names within the listed folder.
        """
        if len(below) > DEEPEST_FOLDER:
            raise ModelUnreadable(f"The model's folders nest deeper than {DEEPEST_FOLDER}; it is refused.")
        listing: Any = self._client.json(_ARTIFACTS, path="/".join((root, *below)))
        for entry in listing.get("files", ()):
            name = (*below, _plain_name(entry["path"]))
            if entry.get("is_dir"):
                yield from self._listed(root, name)
            else:
                yield name, int(entry.get("file_size") or 0)


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or not name.isprintable() or "/" in name or "\\" in name:
        raise ModelUnreadable(
            f"The model has a file named {name!r:.100}, which leads out of its folder; it is refused."
        )
    return name


def _last_output(run_id: str, run: Mapping[str, Any]) -> str:
    outputs = run.get("outputs", {}).get("model_outputs", ())
    if not outputs:
        raise ModelUnreadable(f"Run {run_id!r} logged no model.")
    return str(outputs[-1]["model_id"])


def _tags(holder: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in holder.get("tags", ())}


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{target.parent} cannot be made: {error.strerror}.") from error


def _copy_local(source: Path, folder: Path, announce: Callable[[int], None]) -> None:
    if not source.is_dir():
        raise ModelUnreadable(f"The model's folder {source} cannot be read here.")
    announce(sum(path.stat().st_size for path in source.rglob("*") if path.is_file()))
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    except OSError as error:
        raise Unwritable(f"The model cannot be copied from {source}: {error.strerror or error}.") from error
