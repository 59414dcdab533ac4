"""Models as our own server gets them: packaged by the trainer, and named by an MLflow that answers for them."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from answers import same
from samples import Sample

CHECKOUT = Path(__file__).resolve().parents[2]
FAMILY = "tabular_classification"
EXAMPLE_ROWS = 3


def package(sample: Sample, folder: Path) -> Path:
    """The model's folder with the graph that the platform's compilers make of it, the first that answers as it does.

    Raises `RuntimeError` if none does.
    """
    from inference_server.card import ModelCard
    from inference_server.families.base import load_compiled
    from inference_server.families.graph import FILE_NAME

    folder.mkdir()
    data = {"features": sample.rows}
    example = {"features": sample.rows[:EXAMPLE_ROWS]}
    features = [{"name": name, "kind": "number"} for name in sample.columns]
    card = ModelCard(FAMILY, example, "class", sample.classes, {"features": features}, {"isEqual": True})
    card.write(folder)
    for graph in _graphs(sample):
        (folder / FILE_NAME).write_bytes(graph.SerializeToString())
        compiled = load_compiled(folder, card, threads=1)
        if same(list(map(list, compiled.predict(compiled.parse(data)))), sample.probabilities):
            return folder
    raise RuntimeError(f"No compiled {sample.name} answers as the model does.")


def _graphs(sample: Sample) -> Iterator[Any]:
    if sample.name == "mlp":
        yield _exported(sample.model, len(sample.columns))
        return
    from inference_server.families.rows import Feature
    from trainer.compilation.tables import graphs_of

    for candidate in graphs_of(sample.model, [Feature(name, "number") for name in sample.columns]):
        yield candidate.graph


def _exported(network: Any, width: int) -> Any:
    """As the trainer exports networks; the rows of a table come in float64."""
    import torch

    class Rows(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, rows: Any) -> Any:
            return self.network(rows.float())

    shape = {"rows": {0: torch.export.Dim("rows", min=1, max=1 << 16)}}
    rows = {"rows": torch.zeros((2, width), dtype=torch.float64)}
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            Rows().eval(), kwargs=rows, dynamo=True, external_data=False, dynamic_shapes=shape,
            input_names=["rows"], output_names=["probabilities"], verbose=False,
        ).model_proto  # fmt: skip


@contextmanager
def tracking(folders: Mapping[str, Path]) -> Iterator[str]:
    """The address of an MLflow with a run of each name, which logged the model in that folder of this machine."""
    from inference_server.digest import directory_digest

    digests = {name: directory_digest(folder) for name, folder in folders.items()}
    handler = type("Handler", (_Handler,), {"folders": folders, "digests": digests})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """A model's id is the name of its run."""

    folders: Mapping[str, Path]
    digests: Mapping[str, str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path.endswith("/runs/get"):
            name = parse_qs(url.query).get("run_id", [""])[0]
            run = {"info": {"run_id": name, "status": "FINISHED"}, "data": {}}
            answer = {"run": run | {"outputs": {"model_outputs": [{"model_id": name}]}}}
        else:
            name = url.path.rsplit("/", 1)[1]
            tags = [{"key": "modelyard.model_digest", "value": self.digests.get(name, "")}]
            answer = {"model": {"info": {"model_id": name, "artifact_uri": str(self.folders.get(name)), "tags": tags}}}
        self._send(200, answer) if name in self.folders else self._send(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._send(200, {})

    def _send(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
