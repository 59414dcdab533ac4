"""The program that is MLflow's server: `python -m app.runtimes.local.mlflow_program`, launched like any model server.

It serves MLflow's ASGI application with uvicorn, told by the environment that `mlflow server` sets. That command would
import all of MLflow only to start a second process that imports it again: twice the time to start, twice the memory.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from pathlib import Path

from app.runtimes.local.launcher import own_environment

APPLICATION = "mlflow.server.fastapi_app:app"
LISTEN = "MODELYARD_MLFLOW_LISTEN"
ADDRESS_FILE = "MODELYARD_MLFLOW_ADDRESS_FILE"
PORT_TAKEN = "PortTaken"
TERMINATION_LOG = "MODELYARD_MLFLOW_TERMINATION_LOG"


def main() -> int:
    told = own_environment()
    host, _, port = told[LISTEN].rpartition(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, int(port)))  # long before it is ready: a port that is taken shows in no time
        return serve(listener, Path(told[ADDRESS_FILE]))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        message = f"MLflow cannot listen on port {port}: {error.strerror}. Choose another port."
        Path(told[TERMINATION_LOG]).write_text(json.dumps({"reason": PORT_TAKEN, "message": message}))
        return 1


def serve(listener: socket.socket, address_file: Path, application: str = APPLICATION) -> int:
    """Serve until told to stop. Raises OSError if another program has begun to listen there since it was bound."""
    import uvicorn

    def claim() -> None:
        listener.listen()  # two may be bound to one port, only one can listen; uvloop would swallow the error
        address_file.write_text("{}:{}\n".format(*listener.getsockname()))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            claim()
            await super().startup(sockets)

    server = Server(uvicorn.Config(application, access_log=False))
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
