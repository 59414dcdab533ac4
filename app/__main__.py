"""`python -m app`: the gateway as one process. It reads MLOPS_... from the environment."""

from __future__ import annotations

import argparse
import gc
import sys

import structlog
import uvicorn
from starlette.types import ASGIApp

from app import __version__
from app.bootstrap import build
from app.core.errors import ConfigurationError
from app.core.settings import HttpSettings, Settings, load_settings
from app.logging import configure
from app.main import create_app
from app.proxy.server import HttpProtocol


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m app", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.parse_args()
    try:
        settings = load_settings()
        configure(settings.log_format)
        platform = build(settings)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    _warn(settings)
    serve(create_app(platform), settings.http)
    return 0


def serve(app: ASGIApp, http: HttpSettings) -> None:
    """Serve until a signal ends it."""
    gc.freeze()  # what was imported stays; to look through it for garbage holds up the event loop for 0.1 s
    uvicorn.run(
        app,
        host=http.host,
        port=http.port,
        loop="uvloop",
        http=HttpProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=75,
    )


def _warn(settings: Settings) -> None:
    if settings.http.host not in ("127.0.0.1", "::1", "localhost"):
        structlog.get_logger(__name__).warning(
            "open_to_the_network",
            host=settings.http.host,
            consequence="Whoever reaches this address may train, deploy and delete: there are no accounts.",
        )


if __name__ == "__main__":
    sys.exit(main())
