"""A registry of images that has none: it answers every question with "not found"."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode()


class _Nothing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v2/" else 404)
        self.send_header("Content-Length", str(len(_UNKNOWN)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(_UNKNOWN)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def an_empty_registry() -> Iterator[str]:
    """Its address, for a node that is this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Nothing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()
