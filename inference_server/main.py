"""The program: read the letter, listen, prepare the model, answer until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
import uvloop

from inference_server.app import InferenceApp
from inference_server.contract import LetterUnreadable, ServerInput
from inference_server.families.base import ModelUnreadable
from inference_server.model import ServedModel
from inference_server.rest import Unavailable, Unwritable
from inference_server.worker import Worker

log = logging.getLogger("inference_server")

DRAIN_SECONDS = 65  # for requests in flight when told to stop: above the deadline of a prediction
KEEP_ALIVE_SECONDS = 120  # longer than a proxy keeps an idle connection, so that the proxy is the one to close it
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
    model, worker = ServedModel(letter), Worker()
    config = uvicorn.Config(
        InferenceApp(model, worker),
        lifespan="off",
        ws="none",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config, lambda: worker.start(model.prepare))
    await server.serve(sockets=[listener])
    preparation = server.begun
    if preparation is None or not preparation.done() or preparation.cancelled():
        return STOPPED
    error = preparation.exception()
    return STOPPED if error is None else _ending_of(error, model.phase.reason)


class _Server(uvicorn.Server):
    """Begins `work` once it listens; stops when told to, and when the work fails."""

    def __init__(self, config: uvicorn.Config, work: Callable[[], asyncio.Future[None]]) -> None:
        super().__init__(config)
        self._work = work
        self.begun: asyncio.Future[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun = self._work()
        self.begun.add_done_callback(self._stop_on_failure)

    def _stop_on_failure(self, work: asyncio.Future[None]) -> None:
        if not work.cancelled() and work.exception() is not None:
            self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but a stop that was asked for ends with exit code 0, not with the signal again."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


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
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.captureWarnings(True)
