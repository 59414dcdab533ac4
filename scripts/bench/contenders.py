"""The servers that are compared: how each is started fairly on one core, what it is asked, where its answer lies."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import environments
from packages import CHECKOUT, FAMILY
from samples import Sample
from servers import free_port

PEERS = Path(__file__).with_name("peers")
BATCH = 64  # requests at most, where a peer joins them; what it waits for more stands in peers/weights.py
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
HUSH = {  # nothing may call home
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
}

Rows = list[list[float]]


@dataclass(frozen=True)
class Place:
    """What a server is given: the model as each of them reads it, an empty folder of its own and a port."""

    sample: Sample
    models: Path  # holds model.joblib or model.pt, and the folder mlflow
    tracking: str  # the MLflow that our own server asks
    folder: Path
    port: int


@dataclass(frozen=True)
class Contender:
    """How one server is started, asked and understood."""

    command: list[str]
    path: str = "/predict"
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    body: Callable[[Rows], object] = lambda rows: {"rows": rows}
    predictions: Callable[[Any], list[Any]] = lambda answer: answer["predictions"]


class Unknown(Exception):  # noqa: N818
    """There is no such contender; the text says which there are."""


def ours(place: Place) -> Contender:
    from inference_server.contract import ServerInput

    letter = ServerInput(
        task_id="bench",
        model_id=place.sample.name,
        family=FAMILY,
        run_id=place.sample.name,
        tracking_uri=place.tracking,
        listen=f"127.0.0.1:{place.port}",
        model_cache=str(place.folder / "cache"),
        termination_log=str(place.folder / "termination"),
        cpu_threads=1,
    )

    def predictions(answer: Any) -> list[Any]:
        if place.sample.name != "mlp":
            return list(answer["predictions"])
        return [[row[str(number)] for number in place.sample.classes] for row in answer["probabilities"]]

    return Contender(
        [sys.executable, "-m", "inference_server"],
        environment={"PYTHONPATH": str(CHECKOUT), **letter.to_env()},
        body=lambda rows: {"data": {"features": rows}},
        predictions=predictions,
    )


def ours_v2(place: Place) -> Contender:
    """Asked as MLServer is, for what the peers answer alone: classes, or the network's probabilities."""
    network = place.sample.name == "mlp"
    asked = "probabilities" if network else "predictions"

    def body(rows: Rows) -> object:
        return {"inputs": [_tensor(rows, "FP64")], "outputs": [{"name": asked}]}

    path = f"/v2/models/{place.sample.name}/infer"
    return replace(ours(place), path=path, body=body, predictions=lambda answer: _rows(answer["outputs"][0]))


def _tensor(rows: Rows, datatype: str) -> dict[str, Any]:
    numbers = [value for row in rows for value in row]
    return {"name": "x", "datatype": datatype, "shape": [len(rows), len(rows[0])], "data": numbers}


def _rows(output: Any) -> list[Any]:
    """A tensor's rows; what has one column is a list of numbers."""
    width = output["shape"][1] if len(output["shape"]) > 1 else 1
    if width == 1:
        return list(output["data"])
    return [output["data"][at : at + width] for at in range(0, len(output["data"]), width)]


def bare(place: Place, batch: int) -> Contender:
    flags = "--no-access-log --log-level warning --host 127.0.0.1 --port"
    command = [_python("bare", place), "-m", "uvicorn", "bare:app", *flags.split(), str(place.port)]
    return Contender(command, environment=_environment(place, batch))


def mosec(place: Place, batch: int) -> Contender:
    flags = f"--address 127.0.0.1 --port {place.port} --timeout 30000 --log-level warning"
    command = [_python("mosec", place), str(PEERS / "mosec_app.py"), *flags.split()]
    return Contender(command, path="/inference", environment=_environment(place, batch))


def litserve(place: Place, batch: int) -> Contender:
    return Contender([_python("litserve", place), str(PEERS / "lit_app.py")], environment=_environment(place, batch))


def ray(place: Place, batch: int) -> Contender:
    return Contender([_python("ray", place), str(PEERS / "ray_app.py")], environment=_environment(place, batch))


def bentoml(place: Place, batch: int) -> Contender:
    flags = ["--host", "127.0.0.1", "-p", str(place.port), "--working-dir", str(PEERS)]
    command = [_script("bentoml", place), "serve", "bento_app:Bench", *flags]
    return Contender(command, environment=_environment(place, batch), predictions=list)


def mlflow(place: Place) -> Contender:
    script = _script("mlflow", place)
    flags = f"-h 127.0.0.1 -p {place.port} -w 1 --env-manager local"
    command = [script, "models", "serve", "-m", str(place.models / "mlflow"), *flags.split()]
    path = f"{Path(script).parent}:/usr/bin:/bin"  # it starts uvicorn by its name, whose access log it leaves on
    quiet = {"PATH": path, "UVICORN_ACCESS_LOG": "false"}
    return Contender(command, "/invocations", _environment(place, 1) | quiet, body=lambda rows: {"inputs": rows})


def mlserver(place: Place, batch: int) -> Contender:
    """As it comes, with one worker process; its own runtime for scikit-learn's models."""
    network = place.sample.name == "mlp"
    settings = {"debug": False, "host": "127.0.0.1", "http_port": place.port, "parallel_workers": 1}
    settings |= {"grpc_port": free_port(), "metrics_port": free_port(), "metrics_dir": str(place.folder)}
    settings |= {"environments_dir": str(place.folder / "environments")}
    model: dict[str, Any] = {"name": "bench", "parameters": {"uri": str(place.models / "model.joblib")}}
    model["implementation"] = "mlserver_mlp.Mlp" if network else "mlserver_sklearn.SKLearnModel"
    if batch > 1:
        model |= {"max_batch_size": batch, "max_batch_time": 0.001}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))

    def body(rows: Rows) -> object:
        return {"inputs": [_tensor(rows, "FP32" if network else "FP64")]}

    command = [_script("mlserver", place), "start", str(place.folder)]
    return Contender(
        command, "/v2/models/bench/infer", _environment(place, batch), place.folder, body,
        lambda answer: _rows(answer["outputs"][0]),
    )  # fmt: skip


def _python(peer: str, place: Place) -> str:
    if place.sample.name == "mlp":
        environments.torch()
    return str(environments.python(peer))


def _script(peer: str, place: Place) -> str:
    """The program of the same name in the peer's environment."""
    return str(Path(_python(peer, place)).with_name(peer))


def _environment(place: Place, batch: int) -> dict[str, str]:
    told = {"MODEL": place.sample.name, "MODELS": str(place.models), "PORT": str(place.port), "BATCH": str(batch)}
    return {**ONE_THREAD, **HUSH, **told, "PYTHONPATH": str(PEERS)}


CONTENDERS: dict[str, Callable[[Place], Contender]] = {
    "ours": ours,
    "ours+v2": ours_v2,
    "mosec": lambda place: mosec(place, 1),
    "mosec+batch": lambda place: mosec(place, BATCH),
    "mlserver": lambda place: mlserver(place, 1),
    "mlserver+batch": lambda place: mlserver(place, BATCH),
    "bentoml": lambda place: bentoml(place, 1),
    "litserve+batch": lambda place: litserve(place, BATCH),
    "ray": lambda place: ray(place, 1),
    "mlflow": mlflow,
    "bare": lambda place: bare(place, 1),
    "bare+batch": lambda place: bare(place, BATCH),
}


def chosen(names: str) -> Iterator[str]:
    """The contenders of this list: `mosec` means it with and without batching."""
    wanted = names.split(",") if names else list(CONTENDERS)
    for name in wanted:
        found = [known for known in CONTENDERS if name in (known, known.split("+")[0])]
        if not found:
            raise Unknown(f"There is no contender {name}; known are {', '.join(CONTENDERS)}.")
        yield from found
