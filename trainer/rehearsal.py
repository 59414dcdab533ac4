"""The rehearsal: before a model is registered it is compiled, compared, and measured as a server would run it.

Whoever registers a model calls `rehearse`, whether it was trained here or uploaded. Compiling and measuring have a
process each: the one may fail in any way without harm, the other is to import what a server imports, and no more.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inference_server.card import ModelCard
from inference_server.facts import Facts

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 600
GRAPH_FILE = "model.onnx"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def rehearse(folder: Path, held_out: Sequence[Any]) -> Facts | None:
    """Compile the model in `folder`, write into its card what came of it, and measure it; None if that failed.

    `held_out` are the `data` of predict requests, of rows that the model has not learnt from. The original's files stay
    as they are; `model.onnx` is there afterwards if it answers as the original does.
    """
    card = ModelCard.read(folder)
    compiled = _compiled(folder, held_out)
    if not compiled["isEqual"]:
        (folder / GRAPH_FILE).unlink(missing_ok=True)
    replace(card, compiled=compiled).write(folder)
    log.info("%s", compiled["reason"])
    return _measured(folder)


def _compiled(folder: Path, held_out: Sequence[Any]) -> Mapping[str, Any]:
    with TemporaryDirectory() as scratch:
        requests, result = Path(scratch, "held_out.json"), Path(scratch, "compiled.json")
        requests.write_text(json.dumps(held_out), encoding="utf-8")
        failure = _run("trainer.compilation", str(folder), str(requests), str(result)).failure
        if failure:
            return {"isEqual": False, "reason": f"The model could not be compiled: {failure}."}
        content: Mapping[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return content


def _measured(folder: Path) -> Facts | None:
    ended = _run("inference_server.measuring", str(folder))
    if ended.failure:
        log.info("The model could not be measured: %s.", ended.failure)
        return None
    return Facts.from_json(json.loads(ended.output.splitlines()[-1]))


class _Ended:
    """How a process ended: what it printed, and in a few words what went wrong."""

    def __init__(self, output: str = "", failure: str = "") -> None:
        self.output = output
        self.failure = failure


def _run(module: str, *arguments: str) -> _Ended:
    """Run a module of ours to its end; it dies with us if we are told to stop meanwhile."""
    command = [sys.executable, "-m", module, *arguments]
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": path}
    try:
        done = subprocess.run(  # noqa: S603: our own interpreter and modules
            command, capture_output=True, text=True, errors="replace", timeout=PATIENCE_SECONDS, env=environment
        )
    except subprocess.TimeoutExpired:
        return _Ended(failure=f"it took more than {PATIENCE_SECONDS} seconds")
    if done.returncode < 0:
        return _Ended(failure=f"it was killed by signal {-done.returncode}, for lack of memory perhaps")
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it ended without a word")
        return _Ended(failure=last[:300].rstrip("."))
    return _Ended(done.stdout)
