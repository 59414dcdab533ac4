"""A model server without a model, started in the place of the real one: it answers with what it was sent.

It starts in phases as the real one does, answers each prediction after a moment, and ends in peace when told to.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PHASES = (("Fetching", "fetch", 0.05), ("Loading", "load", 0.15), ("WarmingUp", "warmUp", 0.05))
PREDICTION_SECONDS = 0.02


class State:
    reason = "Starting"
    seconds: dict[str, float] = {}
    busy = 0
    turn = threading.Condition()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        ready = State.reason == "Ready"
        content = {"reason": State.reason, "message": f"{State.reason}.", "seconds": State.seconds}
        self._answer(200 if ready or self.path == "/health/live" else 503, json.dumps(content).encode())

    def do_POST(self) -> None:
        with State.turn:
            State.busy += 1
        try:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            time.sleep(PREDICTION_SECONDS)  # the work
            self._answer(200, body)
        finally:
            with State.turn:
                State.busy -= 1
                State.turn.notify_all()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2048


def main() -> None:
    letter = json.loads(os.environ["MLOPS_SERVER_INPUT"])
    server = Server(("127.0.0.1", 0), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    threading.Thread(target=start, daemon=True).start()
    part = Path(f"{letter['address_file']}.part")
    part.write_text(f"127.0.0.1:{server.server_port}")
    part.rename(letter["address_file"])
    server.serve_forever(poll_interval=0.02)
    with State.turn:
        State.turn.wait_for(lambda: State.busy == 0)


def start() -> None:
    for reason, name, seconds in PHASES:
        State.reason = reason
        began = time.monotonic()
        time.sleep(seconds)  # the work
        State.seconds = {**State.seconds, name: round(time.monotonic() - began, 3)}
    State.reason = "Ready"


if __name__ == "__main__":
    main()
