"""An MLflow on a port of this machine: the few REST routes that the inference server asks, answered as 3.17 does."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class FakeMlflowRest:
    """Serves the folders in `models` by model id. What a test changes here is what the next request gets.

    `failures` are statuses that the next requests are answered with; `listings` replace what a folder holds, by path;
    `cut_short` says how many of the next downloads break off half-way.
    """

    models: dict[str, Path] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)  # run id -> model ids
    model_tags: dict[str, dict[str, str]] = field(default_factory=dict)
    run_tags: dict[str, dict[str, str]] = field(default_factory=dict)
    artifact_uris: dict[str, str] = field(default_factory=dict)
    listings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    cut_short: int = 0
    asked: list[str] = field(default_factory=list)

    def log(self, folder: Path, digest: str | None, run_id: str = "run-1", model_id: str = "m-1") -> None:
        self.models[model_id] = folder
        self.outputs[run_id] = [model_id]
        self.run_tags[run_id] = {"mlflow.user": "tester"}
        self.model_tags[model_id] = {} if digest is None else {"modelyard.model_digest": digest}

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"mlflow": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def artifact_path(self, model_id: str) -> str:
        return f"1/models/{model_id}/artifacts"


class _Handler(BaseHTTPRequestHandler):
    mlflow: FakeMlflowRest

    def do_GET(self) -> None:
        self.mlflow.asked.append(self.path)
        if self.mlflow.failures:
            self._json(self.mlflow.failures.pop(0), {"error_code": "TEMPORARILY_UNAVAILABLE"})
            return
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        route = unquote(url.path)
        if route == "/api/2.0/mlflow/runs/get":
            self._run(query["run_id"])
        elif route.startswith("/api/2.0/mlflow/logged-models/"):
            self._logged_model(route.rsplit("/", 1)[1])
        elif route == ARTIFACTS:
            self._list(query["path"])
        elif route.startswith(f"{ARTIFACTS}/"):
            self._download(route.removeprefix(f"{ARTIFACTS}/"))
        else:
            self._json(404, {"error_code": "ENDPOINT_NOT_FOUND"})

    def _run(self, run_id: str) -> None:
        if run_id not in self.mlflow.outputs:
            self._missing(f"Run with id={run_id} not found")
            return
        outputs = [{"model_id": model_id, "step": 0} for model_id in self.mlflow.outputs[run_id]]
        tags = _tag_list(self.mlflow.run_tags.get(run_id, {}))
        run = {"info": {"run_id": run_id}, "data": {"tags": tags}, "inputs": {}}
        self._json(200, {"run": {**run, "outputs": {"model_outputs": outputs} if outputs else {}}})

    def _logged_model(self, model_id: str) -> None:
        if model_id not in self.mlflow.models:
            self._missing(f"Logged model with ID '{model_id}' not found.")
            return
        uri = self.mlflow.artifact_uris.get(model_id, f"mlflow-artifacts:/{self.mlflow.artifact_path(model_id)}")
        tags = _tag_list(self.mlflow.model_tags[model_id])
        self._json(200, {"model": {"info": {"model_id": model_id, "artifact_uri": uri, "tags": tags}, "data": {}}})

    def _list(self, path: str) -> None:
        if path in self.mlflow.listings:
            self._json(200, {"files": self.mlflow.listings[path]})
            return
        folder = self._local(path)
        entries = [_entry(found) for found in sorted(folder.iterdir())] if folder and folder.is_dir() else []
        self._json(200, {"files": entries} if entries else {})

    def _download(self, path: str) -> None:
        local = self._local(path)
        if local is None or not local.is_file():
            self._missing(f"No such artifact: '{path}'")
            return
        content = local.read_bytes()
        self.send_response(200)
        self.send_header("content-type", "application/octet-stream")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.mlflow.cut_short:
            self.mlflow.cut_short -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def _local(self, path: str) -> Path | None:
        for model_id, folder in self.mlflow.models.items():
            root = self.mlflow.artifact_path(model_id)
            if path == root or path.startswith(f"{root}/"):
                return folder / path.removeprefix(root).lstrip("/")
        return None

    def _missing(self, message: str) -> None:
        self._json(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message})

    def _json(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `asked` instead."""


def _entry(found: Path) -> dict[str, Any]:
    size = {} if found.is_dir() or not found.stat().st_size else {"file_size": found.stat().st_size}
    return {"path": found.name, "is_dir": found.is_dir(), **size}


def _tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]
