"""A ready server for a model of each kind, spoken to by the protocols' own clients."""

from __future__ import annotations

import base64
import http.client
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pandas as pd
import pytest
from PIL import Image
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.inference_server.families.made_models import image_model, text_classifier, text_generator
from tests.inference_server.models import EXAMPLE, FEATURES
from tests.inference_server.served import prepared, served
from tests.inference_server.server_process import ServerProcess

with warnings.catch_warnings():  # MLflow warns of its own type hints
    warnings.simplefilter("ignore", UserWarning)
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

NAMES = [feature["name"] for feature in FEATURES]
RICH = [40.0, "Oslo", True, 2500.0]
POOR = [20.0, "Rome", False, 100.0]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, classifier_folder: Path) -> Iterator[ServerProcess]:
    with served(tmp_path_factory.mktemp("table") / "server", classifier_folder) as server:
        yield server


@pytest.fixture(scope="module")
def torch_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    folder = tmp_path_factory.mktemp("torch")
    models = {}
    for name, make in (("images", image_model), ("texts", text_classifier), ("writer", text_generator)):
        (folder / name).mkdir()
        models[name] = make(folder / name)
    prepared(models["images"], image=[[0, 255], [255, 0]])
    prepared(models["texts"], text="the quick")
    prepared(models["writer"], text="the quick", maxNewTokens=4)
    with ExitStack() as stack:
        yield {name: stack.enter_context(served(folder / f"{name}-server", models[name])) for name in models}


@pytest.fixture(scope="module")
def writer(torch_servers: dict[str, ServerProcess]) -> ServerProcess:
    return torch_servers["writer"]


@pytest.fixture
def triton(table: ServerProcess) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(table.address) as client:
        yield client


def inputs(*rows: list[Any], binary: bool) -> list[InferInput]:
    made = []
    for name, kind, values in zip(NAMES, (f["kind"] for f in FEATURES), zip(*rows, strict=True), strict=True):
        datatype, dtype = {"number": ("FP64", float), "category": ("BYTES", object), "boolean": ("BOOL", bool)}[kind]
        tensor = InferInput(name, [len(rows), 1], datatype)
        tensor.set_data_from_numpy(np.array(values, dtype=dtype).reshape(-1, 1), binary_data=binary)
        made.append(tensor)
    return made


def test_tritons_client_finds_the_server_and_the_model(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("houses")
    assert triton.is_model_ready("task-1", "run-1")
    assert not triton.is_model_ready("houses", "run-2")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    facts = triton.get_model_metadata("houses")
    assert [(tensor["name"], tensor["datatype"]) for tensor in facts["inputs"]] == [
        ("age", "FP64"),
        ("city", "BYTES"),
        ("member", "BOOL"),
        ("income", "FP64"),
    ]
    assert [tensor["name"] for tensor in facts["outputs"]] == ["predictions", "probabilities"]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_tritons_client_is_answered_as_predict_is(
    table: ServerProcess, triton: InferenceServerClient, binary: bool
) -> None:
    outputs = [InferRequestedOutput(name, binary_data=binary) for name in ("probabilities", "predictions")]
    result = triton.infer("houses", inputs(RICH, POOR, binary=binary), request_id="r-7", outputs=outputs)
    answer = table.predict([RICH, POOR])[2]
    found = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("predictions")]
    assert found == answer["predictions"] == ["rich", "poor"]
    assert result.as_numpy("probabilities").tolist() == [list(row.values()) for row in answer["probabilities"]]
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("r-7", "houses", "run-1")


def test_an_infer_request_that_is_none_is_the_protocols_error(triton: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match='Missing are the inputs "income"') as error:
        triton.infer("houses", inputs(RICH, binary=True)[:3])
    assert error.value.status() == "400"
    with pytest.raises(
        InferenceServerException, match='There is no model "other" here; served is "houses" or "task-1"'
    ):
        triton.infer("other", inputs(RICH, binary=True))


def test_v1_is_answered_by_row_and_by_column(table: ServerProcess) -> None:
    by_row = table.ask("POST", "/v1/models/houses:predict", {"instances": [RICH, POOR]})
    assert (by_row[0], by_row[2]) == (200, {"predictions": ["rich", "poor"]})
    columns = {name: [row[at] for row in (RICH, POOR)] for at, name in enumerate(NAMES)}
    by_column = table.ask("POST", "/v1/models/task-1:predict", {"inputs": columns})
    assert by_column[2]["outputs"] == by_column[2]["predictions"] == ["rich", "poor"]
    assert table.ask("GET", "/v1/models")[2] == {"models": ["houses"]}
    assert table.ask("GET", "/v1/models/houses")[2]["model_version_status"][0]["state"] == "AVAILABLE"
    for method, path in (("GET", "/v1/models/other"), ("POST", "/v1/models/other:predict")):
        status, _, content = table.ask(method, path)
        assert (status, list(content)) == (404, ["error"])
    status, _, content = table.ask("POST", "/v1/models/houses:predict", {"instances": [["old", "Oslo", True, 1]]})
    assert (status, content) == (
        400,
        {"error": 'Row 1, column "age" holds the text "old" where a number belongs.'},
    )


def test_mlflows_own_client_invokes_the_model(table: ServerProcess) -> None:
    host, _, port = table.address.rpartition(":")
    client = ScoringServerClient(host, port)
    client.wait_server_ready(10)
    assert client.get_version() == "3.17.2"
    frame = pd.DataFrame([RICH, POOR], columns=NAMES)
    assert client.invoke(frame).get_predictions()[0].tolist() == ["rich", "poor"]
    csv = frame.to_csv(index=False).encode()
    assert table.ask("POST", "/invocations", csv, {"Content-Type": "text/csv"})[2] == {"predictions": ["rich", "poor"]}
    status, _, content = table.ask("POST", "/invocations", {"dataframe_split": {"columns": ["age"], "data": [[1]]}})
    assert (status, content["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert table.ask("POST", "/invocations", b"x", {"Content-Type": "application/x-parquet"})[0] == 415


def test_a_model_that_writes_no_text_has_no_openai_routes(table: ServerProcess) -> None:
    status, _, content = table.ask("POST", "/openai/v1/completions", {"model": "houses", "prompt": "x"})
    assert (status, content["error"]["message"]) == (
        404,
        "The model houses does not write text; it answers predictions.",
    )
    assert table.ask("GET", "/openai/v1/models")[2]["data"] == []
    status, _, problem = table.ask("POST", "/predict", {"data": {"features": EXAMPLE}, "stream": True})
    assert (status, problem["causes"][0]["pointer"]) == (422, "/stream")


def test_images_go_as_pixels_and_as_files(torch_servers: dict[str, ServerProcess]) -> None:
    server = torch_servers["images"]
    pixels = np.random.default_rng(3).integers(0, 255, (2, 12, 12, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    tensor = InferInput("images", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    whole_file = InferInput("images", [1], "BYTES")
    whole_file.set_data_from_numpy(np.array([file.getvalue()], dtype=object))
    with InferenceServerClient(server.address) as client:
        by_pixels = client.infer("houses", [tensor]).as_numpy("probabilities")
        by_file = client.infer("houses", [whole_file]).as_numpy("probabilities")
    b64 = base64.b64encode(file.getvalue()).decode()
    answer = server.ask("POST", "/predict", {"data": {"image": b64}})[2]
    expected = list(answer["probabilities"][0].values())
    assert by_pixels[0].tolist() == pytest.approx(expected)
    assert by_file.tolist() == [expected]
    v1 = server.ask("POST", "/v1/models/houses:predict", {"instances": [{"image_bytes": {"b64": b64}}]})[2]
    assert v1 == {"predictions": answer["predictions"]}


def test_texts_are_classified_by_each_protocol(torch_servers: dict[str, ServerProcess]) -> None:
    server = torch_servers["texts"]
    texts = ["the quick", "one two three"]
    expected = server.ask("POST", "/predict", {"data": {"texts": texts}})[2]["predictions"]
    tensor = InferInput("texts", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(texts, dtype=object))
    with InferenceServerClient(server.address) as client:
        assert [label.decode() for label in client.infer("houses", [tensor]).as_numpy("predictions")] == expected
    for path, body in (
        ("/v1/models/houses:predict", {"instances": texts}),
        ("/invocations", {"dataframe_split": {"columns": ["text"], "data": [[text] for text in texts]}}),
    ):
        assert server.ask("POST", path, body)[2] == {"predictions": expected}


DATA = {"texts": ["the quick", "one two"], "maxNewTokens": 20, "temperature": 1.5, "seed": 3}


def events(server: ServerProcess, body: Any, **headers: str) -> list[tuple[str, Any]]:
    connection = http.client.HTTPConnection(server.address, timeout=60)
    connection.request("POST", "/predict", json.dumps(body).encode(), headers)
    response = connection.getresponse()
    assert (response.status, response.getheader("content-type")) == (200, "text/event-stream")
    found = []
    for block in response.read().decode().removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields.get("event", ""), json.loads(fields["data"])))
    connection.close()
    return found


@pytest.mark.parametrize(
    ("body", "headers"),
    [({"data": DATA, "stream": True}, {}), ({"data": DATA}, {"Accept": "text/event-stream"})],
    ids=["by the body", "by the header"],
)
def test_a_prediction_is_streamed_as_events_and_told_whole_at_the_end(
    writer: ServerProcess, body: Any, headers: dict[str, str]
) -> None:
    told = events(writer, body, **headers)
    expected = writer.ask("POST", "/predict", {"data": DATA})[2]
    assert told[-1] == ("done", expected)
    texts = ["", ""]
    for _, piece in told[:-1]:
        texts[piece["index"]] += piece["text"]
    assert texts == expected["predictions"]
    assert len(told) > 10


def test_a_stream_that_is_refused_is_a_problem_and_no_stream(writer: ServerProcess) -> None:
    status, headers, problem = writer.ask("POST", "/predict", {"data": {"text": "x", "topP": 5}, "stream": True})
    assert (status, headers["content-type"]) == (422, "application/problem+json")
    assert problem["causes"][0]["pointer"] == "/data/topP"


@pytest.fixture
def client(writer: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://{writer.address}/openai/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openais_client_completes_as_predict_does(writer: ServerProcess, client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["houses"]
    assert client.models.retrieve("houses").owned_by == "modelyard"
    done = client.completions.create(
        model="houses", prompt=["the quick", "one two"], max_tokens=20, temperature=1.5, seed=3
    )
    expected = writer.ask("POST", "/predict", {"data": DATA})[2]["predictions"]
    assert [choice.text for choice in done.choices] == expected
    assert {choice.finish_reason for choice in done.choices} <= {"stop", "length"}
    assert done.usage is not None
    assert 0 < done.usage.completion_tokens <= 40
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_openais_client_streams_what_it_would_get_whole(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "houses", "prompt": "the quick", "max_tokens": 20, "seed": 3, "n": 3}
    whole = client.completions.create(**asked)
    texts, endings, usages = [""] * 3, [""] * 3, []
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            endings[choice.index] = choice.finish_reason or ""
    assert texts == [choice.text for choice in whole.choices]
    assert endings == [choice.finish_reason for choice in whole.choices]
    assert len(set(texts)) > 1
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1] == whole.usage


def test_openais_client_chats(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "task-1", "messages": [{"role": "user", "content": "one"}], "seed": 1}
    whole = client.chat.completions.create(**asked, max_completion_tokens=10)
    message = whole.choices[0].message
    assert (message.role, whole.object) == ("assistant", "chat.completion")
    chunks = list(client.chat.completions.create(**asked, max_tokens=10, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == message.content
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_stop_text_ends_a_completion(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "houses", "prompt": "the quick", "max_tokens": 20, "temperature": 0}
    text = client.completions.create(**asked).choices[0].text
    stopped = client.completions.create(**asked, stop=[text[4:6]])
    assert stopped.choices[0].text == text[: text.find(text[4:6])]
    assert stopped.choices[0].finish_reason == "stop"


def test_openais_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt-4", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="max_tokens must be a whole number") as bad:
        client.completions.create(model="houses", prompt="x", max_tokens=100_000)
    assert (bad.value.param, bad.value.type) == ("max_tokens", "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="not supported here"):
        client.completions.create(model="houses", prompt="x", frequency_penalty=1, stream=True)
