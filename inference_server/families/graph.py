"""Graphs: a model compiled to ONNX, checked, and run by onnxruntime, with neither scikit-learn nor PyTorch imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from inference_server.families.base import CompiledUnusable
from inference_server.families.onnx_file import read_onnx

FILE_NAME = "model.onnx"

_LOG_ERRORS_ALONE = 3
_LOADING = (
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NotImplemented,
    failures.RuntimeException,
    IndexError,  # no output
    ValueError,  # a name in the file that is no text
)


class Graph:
    """Arrays in, one array out. Not safe for calls from several threads at once."""

    def __init__(self, session: Any) -> None:
        self._run = session.run
        self._inputs = [given.name for given in session.get_inputs()]
        self._outputs = [session.get_outputs()[0].name]

    @classmethod
    def load(cls, directory: Path, threads: int = 0) -> Graph:
        """The graph in `directory`, computed by so many threads; 0 leaves it to onnxruntime.

        Raises `ModelUnreadable` for a file that must not be loaded, `CompiledUnusable` for one that cannot be.
        """
        content = read_onnx(directory / FILE_NAME)
        try:
            session = onnxruntime.InferenceSession(
                content, _options(threads), providers=["CPUExecutionProvider"], enable_fallback=False
            )
            return cls(session)
        except _LOADING as error:
            raise CompiledUnusable(f"onnxruntime cannot load {FILE_NAME}: {_first_line(error)}") from error

    def __call__(self, *arrays: np.ndarray[Any, Any]) -> Any:
        """The graph's first output for `arrays`, in the order of its inputs."""
        return self._run(self._outputs, dict(zip(self._inputs, arrays, strict=True)))[0]


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS_ALONE
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores alone
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
