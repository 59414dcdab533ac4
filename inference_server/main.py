"""The program: read the letter, listen, prepare the model, answer until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from inference_server.app import InferenceApp
from inference_server.batching import Batcher, Bounds
from inference_server.contract import LetterUnreadable, ServerInput
from inference_server.families.base import ModelUnreadable
from inference_server.model import ServedModel
from inference_server.predicting import Predictor
from inference_server.rest import Unavailable, Unwritable
from inference_server.server import Server
from inference_server.worker import Worker

log = logging.getLogger("inference_server")

DRAIN_SECONDS = 65  # for requests in flight when told to stop: above the deadline of a prediction
SWITCH_SECONDS = 0.001  # after which a model that computes in Python lets the event loop answer others
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Ending:
    """How the server ended: its exit code, a stable word, and one sentence, the last line of the log."""

    code: int
    reason: str
    message: str


STOPPED = Ending(0, "Completed", "The server stopped as it was told to.")


def main(arguments: Sequence[str]) -> int:
    """Run until stopped; the exit code is 0 stopped, 2 letter unreadable, 3 model unreadable, 1 anything else."""
    _log_plainly()
    sys.setswitchinterval(SWITCH_SECONDS)
    letter: ServerInput | None = None
    try:
        letter = _letter(arguments)
        listener = _listener(letter)
        _cap_threads(letter.cpu_threads)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ending = runner.run(_serve(letter, listener))
    except LetterUnreadable as error:
        ending = Ending(2, "LetterUnreadable", str(error))
    except OSError as error:
        ending = Ending(1, "Crashed", f"The server cannot listen: {error.strerror or error}.")
    if letter and ending.code:
        _write_termination_log(letter, ending)
    log.log(logging.ERROR if ending.code else logging.INFO, ending.message)
    return ending.code


def _letter(arguments: Sequence[str]) -> ServerInput:
    parser = argparse.ArgumentParser(
        prog="python -m inference_server",
        description="Serve one model of an MLflow run over HTTP.",
        epilog="Exit codes: 0 stopped, 2 the letter was unreadable, 3 the model was, 1 anything else.",
    )
    parser.add_argument(
        "letter", nargs="?", type=Path, help=f"a JSON file; without it the letter is ${ServerInput.VARIABLE}"
    )
    path = parser.parse_args(arguments).letter
    if path is None:
        return _checked(ServerInput.from_env(os.environ))
    try:
        return _checked(ServerInput.from_json(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise LetterUnreadable(f"The letter {path} cannot be read: {error}.") from error


def _checked(letter: ServerInput) -> ServerInput:
    uri = urlsplit(letter.tracking_uri)
    if uri.scheme not in ("http", "https") or not uri.hostname:
        raise LetterUnreadable("tracking_uri must be the http or https address of an MLflow server.")
    if uri.username or uri.password:
        raise LetterUnreadable("tracking_uri must not carry a user name or a password.")
    if letter.max_batch_rows < 1 or letter.batch_latency_ms < 0:
        raise LetterUnreadable("max_batch_rows must be at least 1, and batch_latency_ms at least 0.")
    return letter


def _listener(letter: ServerInput) -> socket.socket:
    """A listening socket; from here on connections wait rather than fail."""
    host, _, port = letter.listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise LetterUnreadable(f"listen must be host:port, not {letter.listen!r}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(port)), family=family, backlog=2048)
    address = f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    if letter.address_file:
        _write_whole(Path(letter.address_file), address)
    log.info("Listening on %s.", address)
    return listener


def _cap_threads(threads: int) -> None:
    """Numeric libraries read these when they are imported, which happens when the model is loaded."""
    if threads > 0:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


async def _serve(letter: ServerInput, listener: socket.socket) -> Ending:
    """Listen at once, so that health is answered while the model is prepared; end when told to, or if that fails."""
    model, worker = ServedModel(letter), Worker("model")
    bounds = Bounds(rows=letter.max_batch_rows, seconds=letter.batch_latency_ms / 1000)
    batcher = Batcher(model.predict, worker, bounds, model.cost)
    predictor = Predictor(batcher, Worker("reader"), lambda: model.reading_seconds)
    server = Server(InferenceApp(model, predictor))
    stopping = _stop_signal()
    await server.start(listener)
    preparing = worker.start(model.prepare)
    # What is loaded stays: no collection of garbage need look at it again, which would make requests wait.
    preparing.add_done_callback(lambda done: stopping.set() if done.exception() else gc.freeze())
    await stopping.wait()
    stopping.clear()
    leaving = asyncio.create_task(server.stop(DRAIN_SECONDS))
    impatient = asyncio.create_task(stopping.wait())  # told a second time
    await asyncio.wait((leaving, impatient), return_when=asyncio.FIRST_COMPLETED)
    error = preparing.exception() if preparing.done() else None
    return STOPPED if error is None else _ending_of(error, model.phase.reason)


def _stop_signal() -> asyncio.Event:
    """Set whenever the process is told to stop."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


def _ending_of(error: BaseException, phase: str) -> Ending:
    match error:
        case ModelUnreadable():
            return Ending(3, "ModelUnreadable", str(error))
        case Unavailable():
            return Ending(1, "TrackingUnavailable", f"MLflow cannot be read: {error}")
        case Unwritable():
            return Ending(1, "Crashed", str(error))
    log.error("The model could not be prepared (%s).", phase, exc_info=error)
    what = f"{type(error).__name__}: {error}"
    if phase in ("Loading", "WarmingUp"):
        return Ending(3, "ModelUnreadable", f"The model fails while it is loaded or predicts its own example ({what}).")
    return Ending(1, "Crashed", f"The server failed while it fetched the model ({what}).")


def _write_termination_log(letter: ServerInput, ending: Ending) -> None:
    line = json.dumps({"reason": ending.reason, "message": ending.message})
    try:
        Path(letter.termination_log).write_text(f"{line}\n", encoding="utf-8")  # in place: Kubernetes mounts the file
    except OSError as error:
        log.warning("The termination log %s cannot be written: %s.", letter.termination_log, error.strerror)


def _write_whole(path: Path, text: str) -> None:
    """Readers see all of the text or no file."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _log_plainly() -> None:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
