"""Clients of other platforms talk to a deployment through the gateway: real clients, a real gateway, real servers."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pandas as pd
import pytest
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from inference_server.app import InferenceApp
from inference_server.predicting import Predictor
from inference_server.worker import Worker
from tests.app.proxy.gateway import gateway, until
from tests.inference_server.answering import batcher_of, listening
from tests.inference_server.families.made_models import text_generator
from tests.inference_server.models import FEATURES, classifier, write_model
from tests.inference_server.served import prepared, served
from tests.inference_server.server_process import ServerProcess
from tests.inference_server.writer import ASKED, Writer

with warnings.catch_warnings():  # MLflow warns of its own type hints
    warnings.simplefilter("ignore", UserWarning)
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

BASE = "api/v1/inference/iris"
RICH = [40.0, "Oslo", True, 2500.0]
POOR = [20.0, "Rome", False, 100.0]


def address_of(server: ServerProcess | str) -> tuple[str, int]:
    address = server if isinstance(server, str) else server.address
    host, _, port = address.rpartition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("writer")
    (folder / "model").mkdir()
    model = prepared(text_generator(folder / "model"), text="the quick", maxNewTokens=4)
    with served(folder / "server", model) as server:
        yield server


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("table")
    with served(folder / "server", write_model(folder / "model", classifier())) as server:
        yield server


def by_triton(port: int) -> list[Any]:
    inputs = []
    for feature, values in zip(FEATURES, zip(RICH, POOR, strict=True), strict=True):
        kinds: dict[str, tuple[str, Any]] = {"number": ("FP64", float), "category": ("BYTES", object)}
        datatype, dtype = kinds.get(feature["kind"], ("BOOL", bool))
        tensor = InferInput(feature["name"], [2], datatype)
        tensor.set_data_from_numpy(np.array(values, dtype=dtype))
        inputs.append(tensor)
    with InferenceServerClient(f"127.0.0.1:{port}/{BASE}") as client:
        assert client.is_server_ready()
        assert client.is_model_ready("houses")
        assert client.get_model_metadata("houses")["inputs"][0]["name"] == "age"
        with pytest.raises(InferenceServerException, match='There is no model "other" here'):
            client.infer("other", inputs)
        return [label.decode() for label in client.infer("houses", inputs).as_numpy("predictions")]


def by_mlflow(port: int) -> list[Any]:
    client = ScoringServerClient("127.0.0.1", f"{port}/{BASE}")
    client.ping()
    frame = pd.DataFrame([RICH, POOR], columns=[feature["name"] for feature in FEATURES])
    return client.invoke(frame).get_predictions()[0].tolist()


async def test_tritons_and_mlflows_clients_predict_through_the_gateway(table: ServerProcess) -> None:
    async with gateway(address_of(table)) as it:
        assert await asyncio.to_thread(by_triton, it.port) == ["rich", "poor"]
        assert await asyncio.to_thread(by_mlflow, it.port) == ["rich", "poor"]
        reply = await it.post(b'{"instances": [[40, "Oslo", true, 2500]]}', path=f"/{BASE}/v1/models/iris:predict")
        assert (reply.status, reply.body) == (404, b'{"error":"There is no model \\"iris\\" here; served is '
                                                   b'\\"houses\\" or \\"task-1\\"."}')  # fmt: skip
        reply = await it.post(b'{"instances": [[40, "Oslo", true, 2500]]}', path=f"/{BASE}/v1/models/task-1:predict")
        assert (reply.status, reply.body) == (200, b'{"predictions":["rich"]}')
        for path in ("/model", "/health/ready", "/health"):
            assert (await it.post(b"", path=f"/{BASE}{path}", method="GET")).body.endswith(b"fell through")


def by_openai(port: int) -> None:
    asked: dict[str, Any] = {"model": "houses", "prompt": "the quick", "max_tokens": 25, "seed": 3}
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/{BASE}/openai/v1", api_key="-", max_retries=0) as client:
        whole = client.completions.create(**asked)
        times, text = [], ""
        for chunk in client.completions.create(**asked, stream=True):
            times.append(time.monotonic())
            text += chunk.choices[0].text
        assert text == whole.choices[0].text
        assert len(times) > 5
        assert len(set(times)) == len(times)
        with pytest.raises(openai.NotFoundError, match="served is"):
            client.completions.create(model="gpt-4", prompt="x")


async def test_openais_client_streams_through_the_gateway(writer: ServerProcess) -> None:
    async with gateway(address_of(writer)) as it:
        await asyncio.to_thread(by_openai, it.port)
        assert it.counted(200) == 2


async def test_a_client_that_leaves_the_gateway_stops_the_writing_on_the_server() -> None:
    model = Writer(length=1_000_000)
    app = InferenceApp(model, Predictor(batcher_of(model), Worker("reader")))  # type: ignore[arg-type]
    async with listening(app) as address, gateway(address_of(address)) as it:
        reader, client = await it.dial()
        body = str(ASKED).replace("'", '"').replace("True", "true").encode()
        head = f"POST /{BASE}/openai/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.write(head.encode() + body)
        await reader.readuntil(b'"text":"a"')
        client.transport.abort()
        await until(lambda: model.closed == 1)
        assert model.steps < model.length


async def test_without_a_replica_the_protocols_own_error_is_given() -> None:
    async with gateway(("127.0.0.1", 1)) as it:
        reply = await it.post(path=f"/{BASE}/openai/v1/completions")
        assert (reply.status, reply.header("content-type")) == (502, "application/json")
        assert b'"code": "replica_lost"' in reply.body
