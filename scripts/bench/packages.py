"""Models as our own server gets them: packaged by the trainer, and named by an MLflow that answers for them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from samples import Sample

FAMILY = "tabular_classification"
EXAMPLE_ROWS = 3
OPERATOR_SETS = {"": 21, "ai.onnx.ml": 3}


def package(sample: Sample, folder: Path) -> Path:
    """The model's folder as the trainer would upload it, compiled."""
    from inference_server.card import ModelCard
    from inference_server.families.graph import FILE_NAME

    folder.mkdir()
    (folder / FILE_NAME).write_bytes(_graph(sample).SerializeToString())
    features = [{"name": name, "kind": "number"} for name in sample.columns]
    example = {"features": sample.rows[:EXAMPLE_ROWS]}
    compiled = {"isEqual": True}  # which the benchmark checks
    ModelCard(FAMILY, example, "class", sample.classes, {"features": features}, compiled).write(folder)
    return folder


def _graph(sample: Sample) -> Any:
    """From rows of float64 to probabilities."""
    from onnx import TensorProto, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    matrix = FloatTensorType([None, len(sample.columns)])
    options = {id(sample.estimator): {"zipmap": False}}
    graph = convert_sklearn(
        sample.estimator, initial_types=[("matrix", matrix)], options=options, target_opset=OPERATOR_SETS
    )
    del graph.graph.output[0], graph.graph.input[0]  # the label; what is read is float64
    rows = helper.make_tensor_value_info("rows", TensorProto.DOUBLE, ["n", len(sample.columns)])
    graph.graph.input.append(rows)
    graph.graph.node.insert(0, helper.make_node("Cast", ["rows"], ["matrix"], to=TensorProto.FLOAT))
    return graph


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
