"""V1 and MLflow's invocations: rows, columns, data frames and CSV become the same rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.utils.proto_json_utils import dump_input_data

from inference_server.families.rows import RowReader
from inference_server.problems import BodyTooLarge, BodyUnreadable, MediaTypeUnknown, ModelFailed, NotReady
from inference_server.protocols import mlflow, v1
from inference_server.protocols.bodies import Asked
from inference_server.protocols.signature import Signature
from tests.inference_server.protocols.cards import CLASSIFIED, IMAGES, MIXED, NUMBERS, TEXTS, WRITER

ROWS: list[list[Any]] = [[40.5, "Oslo", True], [12.0, None, False]]
NAMES = ["age", "city", "member"]
READ = [[40.5, "Oslo", 1.0], [12.0, None, 0.0]]
BY_ROW = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
BY_COLUMN = {name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}


def by_v1(content: Any, signature: Signature = MIXED) -> Asked:
    return v1.read(content if isinstance(content, bytes) else json.dumps(content).encode(), signature)


def invoked(content: Any, signature: Signature = MIXED, type: str = "application/json") -> Asked:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return mlflow.read(body, {b"content-type": type.encode()}, signature)


def rows(request: Asked, signature: Signature = MIXED) -> Any:
    return RowReader(signature.features).read(request.data)


@pytest.mark.parametrize(
    "content",
    [{"instances": ROWS}, {"instances": BY_ROW}, {"inputs": BY_COLUMN}, {"inputs": ROWS}],
    ids=["lists", "objects", "columns", "inputs as rows"],
)
def test_rows_and_columns_are_read_alike_by_v1_and_by_mlflow(content: Any) -> None:
    assert rows(by_v1({**content, "signature_name": "serving_default"})) == READ
    assert rows(invoked(content)) == READ


@pytest.mark.parametrize(
    "content",
    [
        {"dataframe_split": {"index": [0, 1], "columns": NAMES, "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": BY_ROW},
        {"dataframe_records": BY_ROW, "params": {}},
    ],
    ids=["split", "split in another order", "split without names", "records", "no params"],
)
def test_data_frames_are_rows(content: Any) -> None:
    assert rows(invoked(content)) == READ


def test_what_mlflows_own_client_sends_is_read() -> None:
    frame = pd.DataFrame(BY_ROW)
    assert rows(invoked(dump_input_data(frame).encode())) == READ
    array = np.array([[1, 2, np.nan]])
    assert rows(invoked(dump_input_data(array).encode(), NUMBERS), NUMBERS) == [[1, 2, None]]


@pytest.mark.parametrize(
    "text",
    [
        "age,city,member\n40.5,Oslo,true\n12,,0\n",
        'member,"age",city\r\n1,40.5,"Oslo"\r\nFalse,12.0,NA\r\n',
        "\ufeffage,city,member\n40.5,Oslo,TRUE\n12,NaN,false",
    ],
    ids=["plain", "quoted, in another order", "with a byte order mark"],
)
def test_csv_is_read_by_the_kinds_of_its_columns(text: str) -> None:
    assert rows(invoked(text.encode(), type="text/csv; charset=utf-8")) == READ


def test_a_nan_as_pythons_clients_write_it_is_missing() -> None:
    assert rows(by_v1(b'{"instances": [[NaN, "Oslo", true]]}')) == [[None, "Oslo", 1]]


def test_csv_as_pandas_writes_it_is_read() -> None:
    frame = pd.DataFrame(BY_ROW)
    assert rows(invoked(frame.to_csv(index=False).encode(), type="text/csv")) == READ


def test_a_text_or_an_image_may_stand_alone_or_in_an_object_or_a_column() -> None:
    texts = [{"instances": ["a", "b"]}, {"instances": [{"text": "a"}, {"text": "b"}]}, {"inputs": {"text": ["a", "b"]}}]
    assert [by_v1(content, TEXTS).data for content in texts] == [{"texts": ["a", "b"]}] * 3
    frames = [
        {"dataframe_split": {"columns": ["text"], "data": [["a"], ["b"]]}},
        {"dataframe_records": [{"text": "a"}, {"text": "b"}]},
    ]
    assert [invoked(content, TEXTS).data for content in frames] == [{"texts": ["a", "b"]}] * 2
    assert invoked(b"text\na\nb\n", TEXTS, "text/csv").data == {"texts": ["a", "b"]}
    for instance in ("aGk=", {"b64": "aGk="}, {"image_bytes": {"b64": "aGk="}}):
        assert by_v1({"instances": [instance]}, IMAGES).data == {"images": ["aGk="]}
    assert by_v1({"instances": [[[0, 1], [2, 3]]]}, IMAGES).data == {"images": [[[0, 1], [2, 3]]]}


def test_options_reach_a_model_that_writes() -> None:
    wanted = {"texts": ["a"], "maxNewTokens": 5}
    assert by_v1({"instances": ["a"], "parameters": {"maxNewTokens": 5}}, WRITER).data == wanted
    assert invoked({"inputs": ["a"], "params": {"maxNewTokens": 5}}, WRITER).data == wanted


def test_predictions_are_answered_and_to_inputs_outputs_too() -> None:
    answers = [by_v1({"instances": ROWS}), by_v1({"inputs": BY_COLUMN}), invoked({"inputs": BY_COLUMN})]
    assert [json.loads(request.reply(CLASSIFIED).body) for request in answers] == [
        {"predictions": ["rich", "poor"]},
        {"outputs": ["rich", "poor"], "predictions": ["rich", "poor"]},
        {"predictions": ["rich", "poor"]},
    ]


BAD: list[tuple[Any, str]] = [
    (b"\xff", "The body is not JSON"),
    (b'{"instances": [[Infinity, 1, 2]]}', "send null for a missing value"),
    (b'{"instances": [[NaN]' + b"[" * 100_000, "The body is not JSON"),
    ([], "it must be an object"),
    ({"instances": [], "nonsense": 1}, 'unknown field "nonsense"'),
    ({"instances": []}, "instances is empty"),
    ({"instances": 5}, "instances is the number 5; it must be a list of rows."),
    ({"inputs": {}}, 'Missing are the inputs "a", "b", "c"'),
    ({"inputs": {"a": [1], "b": [2]}}, 'Missing are the inputs "c"'),
    ({"inputs": {"a": [1], "b": [2], "c": [3], "d": [4]}}, 'The model knows no inputs "d"'),
    ({"inputs": {"a": 1, "b": 2, "c": 3}}, "inputs must be an object of lists, but a is the number 1."),
]


@pytest.mark.parametrize(("content", "sentence"), BAD)
def test_what_is_no_request_is_400_in_the_words_of_each(content: Any, sentence: str) -> None:
    with pytest.raises(BodyUnreadable) as refusal:
        by_v1(content, NUMBERS)
    assert sentence in refusal.value.detail
    reply = v1.refuse(refusal.value, "r-1")
    assert (reply.status, json.loads(reply.body)) == (400, {"error": refusal.value.detail})
    with pytest.raises(BodyUnreadable) as refusal:
        invoked(content, NUMBERS)
    assert sentence in refusal.value.detail
    reply = mlflow.refuse(refusal.value, "r-1")
    error = {"error_code": "INVALID_PARAMETER_VALUE", "message": refusal.value.detail}
    assert (reply.status, json.loads(reply.body)) == (400, error)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "exactly one of"),
        ({"instances": [[1, 2, 3]], "inputs": [[1, 2, 3]]}, "exactly one of"),
        ({"params": 5, "inputs": [[1, 2, 3]]}, "params is the number 5"),
        ({"dataframe_split": []}, "must be an object with columns and data"),
        ({"dataframe_split": {"columns": ["a"], "data": []}}, "must be an object with columns and data"),
        ({"dataframe_split": {"columns": [1], "data": [[1]]}}, "must be a list of names"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "Two columns have the same name."),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1]]}}, "Row 2 is 1 values; it must be"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [5]}}, "Row 1 is the number 5; it must be"),
    ],
)
def test_frames_that_are_none_are_refused(content: Any, sentence: str) -> None:
    with pytest.raises(BodyUnreadable) as refusal:
        invoked(content, NUMBERS)
    assert sentence in refusal.value.detail


@pytest.mark.parametrize(
    "body", [b"", b"a,b,c\n", b'a,b,c\n1,2,"3\n', b"a,b,c\n\xff,1,2\n", b"a,a,b\n1,2,3\n", b"a,b\n1\n"]
)
def test_csv_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(BodyUnreadable):
        invoked(body, NUMBERS, "text/csv")


@pytest.mark.parametrize("type", ["application/x-parquet", "text/plain", "application/json; charset=utf-16", "", "/"])
def test_other_kinds_of_bodies_are_415(type: str) -> None:
    with pytest.raises(MediaTypeUnknown):
        invoked({"inputs": [[1, 2, 3]]}, NUMBERS, type)


def test_each_status_has_mlflows_code() -> None:
    found = {}
    for problem in (NotReady("x"), BodyTooLarge("x"), ModelFailed("x")):
        reply = mlflow.refuse(problem, "r-1")
        found[reply.status] = json.loads(reply.body)["error_code"]
    assert found == {503: "TEMPORARILY_UNAVAILABLE", 413: "BAD_REQUEST", 500: "INTERNAL_ERROR"}
