"""What the contract of runtimes lets programs do, as data, and the real program that does it: `-m runtime_actor`.

Standard library only, so that any place with a Python can run it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ACT, WORK, TERMINATION = "ACT", "ACT_WORK_DIR", "ACT_TERMINATION_LOG"
LISTEN, ADDRESS = "ACT_LISTEN", "ACT_ADDRESS_FILE"
END, WAIT, SERVE, STARE, DIE_ONCE, HOARD = "end", "wait", "serve", "stare", "die-once", "hoard"


@dataclass(frozen=True)
class Act:
    """Print "run N" (N counts in the work folder) and `says`, then:

    `end` with the exit code, reason and message; or `wait` until told to stop, and then end so; or `serve` HTTP, ready
    at once, and answer predictions with `says`; or `stare`: serve, but answer 503 with reason and message; or
    `die-once`: serve, but crash the first time; or `hoard` more memory than anybody was given.
    """

    then: str = END
    says: tuple[str, ...] = ()
    exit_code: int = 0
    reason: str = ""
    message: str = ""


def count(work: Path) -> int:
    """The number of this run."""
    with (work / "runs").open("a") as file:
        file.write("x")
        return file.tell()


def end(act: Act) -> None:
    if act.reason:
        Path(os.environ[TERMINATION]).write_text(json.dumps({"reason": act.reason, "message": act.message}) + "\n")
    sys.stdout.flush()
    os._exit(act.exit_code)


def serve(act: Act) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.answer(503 if act.then == STARE else 200, {"reason": act.reason, "message": act.message})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200, {"says": act.says})

        def answer(self, status: int, content: dict[str, object]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 1000  # a proxy that held requests sends them all at once

    host, _, port = os.environ[LISTEN].rpartition(":")
    server = Server((host, int(port)), Handler)
    fresh = Path(os.environ[ADDRESS] + ".new")
    fresh.write_text("{}:{}".format(*server.server_address))
    fresh.rename(os.environ[ADDRESS])
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    act = Act(**json.loads(os.environ[ACT]))
    told = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    run = count(Path(os.environ[WORK]))
    sys.stdout.write("\n".join([f"run {run}", *act.says, ""]))
    sys.stdout.flush()
    if act.then == DIE_ONCE and run == 1:
        os._exit(9)
    if act.then in (SERVE, STARE, DIE_ONCE):
        serve(act)
    if act.then == HOARD:
        sys.stdout.write(str(len(b"x" * (1 << 30))))
    if act.then != END:
        signal.sigwait(told)
    end(act)


def letter(act: Act, work: str, termination: str, listen: str, address: str) -> dict[str, str]:
    where = {WORK: work, TERMINATION: termination, LISTEN: listen, ADDRESS: address}
    return {ACT: json.dumps(asdict(act)), **where}


if __name__ == "__main__":
    main()
