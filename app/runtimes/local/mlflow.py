"""The platform's own MLflow: SQLite and a local artifact folder, run by the local runtime like any other server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from datetime import timedelta
from pathlib import Path

from app.core.errors import ConfigurationError, FrameworkMissing, PortTaken, TrackingUnavailable
from app.core.specs import Placeholders, Program, Resources, ServerSpec
from app.runtimes.base import ProcessState, ReplicaObservation
from app.runtimes.local import mlflow_program
from app.runtimes.local.mlflow_program import PORT_TAKEN
from app.runtimes.local.runtime import PROFILE_LABEL, LocalRuntime
from app.runtimes.local.wishes import PLATFORM_LABEL

NAME = "modelyard-mlflow"
HOST = "127.0.0.1"
INSTALL = "pip install mlflow==3.17.2"
# Unlike /health it goes through the check of the Host header and, on a first start, makes the tables.
READY_PATH = "/api/2.0/mlflow/experiments/search?max_results=1"
START_DEADLINE = timedelta(minutes=5)
POLL = 0.02


def mlflow_spec(folder: Path, port: int) -> ServerSpec:
    """The server as a note: database and artifacts in `folder`, answering this machine alone.

    Its uid follows from the note, so another port, or another version of the platform, replaces the server.
    """
    database = f"sqlite:///{folder}/mlflow.db"
    environment = {
        mlflow_program.LISTEN: f"{HOST}:{port}",
        mlflow_program.ADDRESS_FILE: Placeholders.ADDRESS_FILE,
        mlflow_program.TERMINATION_LOG: Placeholders.TERMINATION_LOG,
        "MLFLOW_SERVER_ALLOWED_HOSTS": "localhost,127.0.0.1,localhost:*,127.0.0.1:*",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    program = Program(mlflow_program.__name__, environment, "", ("mlflow", "uvicorn"), INSTALL)
    labels = {PLATFORM_LABEL: "true", PROFILE_LABEL: "The tracking server"}
    digest = hashlib.sha256(json.dumps([str(folder), port, environment], sort_keys=True).encode()).hexdigest()[:16]
    return ServerSpec(NAME, NAME, digest, program, Resources(1000, 0), START_DEADLINE, 1, READY_PATH, labels)


class MlflowServer:
    """MLflow on `port` of this machine, in <home>/mlflow, kept running by `runtime`; it outlives the gateway."""

    def __init__(self, runtime: LocalRuntime, port: int) -> None:
        self._runtime = runtime
        self._port = port
        self._folder = runtime.home / "mlflow"
        self._spec = mlflow_spec(self._folder, port)
        self.uri = f"http://{HOST}:{port}"

    async def start(self) -> None:
        """Launch it, or adopt the one that runs; returns at once, and is harmless when repeated.

        Raises `ConfigurationError` if MLflow is not installed or cannot work in this home, `RuntimeUnavailable` as
        the runtime does.
        """
        if any(character in "?#%" for character in str(self._folder)):
            raise ConfigurationError(f"MLflow cannot keep its database in {self._folder}: no ?, # or % in its path.")
        try:
            self._runtime.admit(self._spec)
        except FrameworkMissing as error:
            raise ConfigurationError(error.detail) from error
        await asyncio.to_thread((self._folder / "artifacts").mkdir, parents=True, exist_ok=True)
        await self._make_way()
        await self._runtime.apply(self._spec)

    async def _make_way(self) -> None:
        """Take away one that was told otherwise, and one in the back-off of a port that may be free by now."""
        while (seen := (await self._runtime.observe_servers([NAME])).get(NAME)) and (
            seen.uid != self._spec.uid or any(_found_port_taken(replica) for replica in seen.replicas)
        ):
            await self._runtime.delete(NAME)
            await asyncio.sleep(POLL)

    async def wait_ready(self, timeout: float) -> None:
        """Return when it answers.

        Raises `TrackingUnavailable` after `timeout` seconds, saying what it waited for, and `PortTaken` at once.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while True:  # no event would tell: another gateway may be the one that acts
                    seen = await self._seen()
                    if seen.state is ProcessState.RUNNING or _found_port_taken(seen):
                        break
                    await asyncio.sleep(POLL)
        await self.check()

    async def check(self) -> None:
        """Raise `TrackingUnavailable` if it does not answer now, `PortTaken` if that is because of the port.

        What another program answers on the port counts for nothing: only our own process is asked.
        """
        seen = await self._seen()
        if _found_port_taken(seen):
            raise PortTaken(self._port)
        if seen.state is not ProcessState.RUNNING:
            raise TrackingUnavailable(f"MLflow at {self.uri} is not ready ({seen.reason}): {seen.message}")

    async def close(self) -> None:
        """Nothing: it outlives the gateway, as all that runs does."""

    async def _seen(self) -> ReplicaObservation:
        server = (await self._runtime.observe_servers([NAME])).get(NAME)
        if server and server.replicas:
            return server.replicas[0]
        return ReplicaObservation(NAME, ProcessState.WAITING, "Starting", "It has not been started yet.")


def _found_port_taken(seen: ReplicaObservation) -> bool:
    return seen.state is ProcessState.EXITED and seen.reason == PORT_TAKEN
