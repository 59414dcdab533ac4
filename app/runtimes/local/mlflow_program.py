"""The program that is MLflow's server: `python -m app.runtimes.local.mlflow_program`, launched like any model server.

It serves MLflow's ASGI application with uvicorn, told by the environment that `mlflow server` sets. That command would
import all of MLflow only to start a second process that imports it again: twice the time to start, twice the memory.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from app.runtimes.local.launcher import own_environment

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
    except OSError as error:
        message = f"MLflow cannot listen on port {port}: {error.strerror}. Choose another port."
        Path(told[TERMINATION_LOG]).write_text(json.dumps({"reason": PORT_TAKEN, "message": message}))
        return 1
    Path(told[ADDRESS_FILE]).write_text(f"{host}:{listener.getsockname()[1]}\n")

    import uvicorn

    server = uvicorn.Server(uvicorn.Config("mlflow.server.fastapi_app:app", access_log=False))
    server.run(sockets=[listener])
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
