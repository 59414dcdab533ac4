"""The Open Inference Protocol: tensors of every type, in JSON and in binary, become rows and come back."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from inference_server.families.base import InputUnreadable
from inference_server.families.rows import RowReader
from inference_server.problems import BodyUnreadable
from inference_server.protocols import infer, tensors, v2
from inference_server.protocols.bodies import Asked
from inference_server.protocols.signature import Signature
from tests.inference_server.protocols.cards import CLASSIFIED, IMAGES, MIXED, NUMBERS, TEXTS, WRITER

NUMBER_TYPES = {
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def asked(signature: Signature, content: Any, rest: bytes = b"", **headers: str) -> Asked:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    if rest:
        given[infer.JSON_LENGTH] = str(len(body)).encode()
    return infer.read(body + rest, given, signature, "houses", "run-1")


def by_client(signature: Signature, *inputs: InferInput, **how: Any) -> Asked:
    """What the official client sends for these inputs."""
    body, length = InferenceServerClient.generate_request_body(list(inputs), **how)
    headers = {} if length is None else {infer.JSON_LENGTH: str(length).encode()}
    return infer.read(body, headers, signature, "houses", "run-1")


def tensor(name: str, array: Any, datatype: str, *, binary: bool) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def one(name: str, datatype: str, shape: list[Any], data: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}


def columns(signature: Signature, request: Asked) -> Any:
    """The rows that a model of this signature reads."""
    return RowReader(signature.features).read(request.data)


@pytest.mark.parametrize(
    ("datatype", "binary"),
    [
        (name, how) for name in NUMBER_TYPES for how in (True, False) if how or name != "FP16"
    ],  # which goes in binary only
)
def test_every_type_of_number_arrives_as_the_number_it_was(datatype: str, binary: bool) -> None:
    array = np.array([[0, 1, 2], [100, 3, 7]], dtype=NUMBER_TYPES[datatype])
    request = by_client(NUMBERS, tensor("input-0", array, datatype, binary=binary))
    assert columns(NUMBERS, request) == array.astype(float).tolist()


def test_the_largest_and_the_smallest_of_each_whole_number_pass() -> None:
    for name, kind in NUMBER_TYPES.items():
        if name.startswith("FP"):
            continue
        limits = np.iinfo(kind)
        low, high = int(limits.min), int(limits.max)
        request = asked(NUMBERS, one("x", name, [1, 3], [low, high, 0]))
        assert columns(NUMBERS, request) == [[low, high, 0]]
        with pytest.raises(BodyUnreadable, match=f'"x" holds a number that no {name} can be|must be whole numbers'):
            asked(NUMBERS, one("x", name, [1, 3], [high + 1, 0, 0]))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_a_tensor_a_column_is_a_row_of_mixed_kinds(binary: bool) -> None:
    request = by_client(
        MIXED,
        tensor("member", np.array([[True], [False]]), "BOOL", binary=binary),
        tensor("age", np.array([40.5, 12.0]), "FP64", binary=binary),
        tensor("city", np.array(["Oslo", "Zürich"], dtype=object), "BYTES", binary=binary),
    )
    assert columns(MIXED, request) == [[40.5, "Oslo", 1.0], [12.0, "Zürich", 0.0]]


def test_where_booleans_belong_0_and_1_are_such_and_nan_is_missing() -> None:
    flat = Signature("tabular_regression", "features", (), NUMBERS.outputs, (MIXED.features[0], MIXED.features[2]))
    array = np.array([[40, 1], [np.nan, 0], [3, np.nan]], dtype=np.float32)
    assert columns(flat, by_client(flat, tensor("all", array, "FP32", binary=True))) == [[40, 1], [None, 0], [3, None]]
    with pytest.raises(InputUnreadable, match="where true or false belongs"):
        columns(flat, asked(flat, one("all", "INT8", [1, 2], [1, 2])))


def test_null_in_json_is_missing_and_nested_data_is_flat_data() -> None:
    inputs = [
        {"name": "age", "datatype": "FP32", "shape": [2, 1], "data": [[1], [None]]},
        {"name": "city", "datatype": "BYTES", "shape": [2], "data": [None, "Rome"]},
        {"name": "member", "datatype": "BOOL", "shape": [2], "data": [True, False]},
    ]
    assert columns(MIXED, asked(MIXED, {"inputs": inputs})) == [[1, None, 1], [None, "Rome", 0]]


def test_texts_and_options_reach_a_model_that_writes() -> None:
    body = {**one("args", "BYTES", [2], ["a", "b"]), "parameters": {"maxNewTokens": 5, "priority": 1}}
    assert asked(WRITER, body).data == {"texts": ["a", "b"], "maxNewTokens": 5}
    assert asked(TEXTS, body).data == {"texts": ["a", "b"]}


def test_images_are_pixels_or_files() -> None:
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    data: Any = by_client(IMAGES, tensor("images", pixels, "UINT8", binary=True)).data
    assert [image.tolist() for image in data["images"]] == pixels.tolist()
    file = b"\x89PNG\x00\xff"
    in_binary = by_client(IMAGES, tensor("images", np.array([file], dtype=object), "BYTES", binary=True))
    in_json = asked(IMAGES, one("images", "BYTES", [1], [base64.b64encode(file).decode()]))
    assert in_binary.data == in_json.data == {"images": [base64.b64encode(file).decode()]}


def answered(request: Asked, rendered: Any = CLASSIFIED) -> Any:
    reply = request.reply(rendered)
    assert (reply.status, reply.type) == (200, "application/json")
    return json.loads(reply.body)


REQUEST = one("age", "FP64", [1], [1.0])
REQUEST["inputs"] += one("city", "BYTES", [1], ["Oslo"])["inputs"] + one("member", "BOOL", [1], [True])["inputs"]


def test_predictions_and_probabilities_are_the_outputs() -> None:
    assert answered(asked(MIXED, {**REQUEST, "id": "r-1"})) == {
        "model_name": "houses",
        "model_version": "run-1",
        "id": "r-1",
        "outputs": [
            {"name": "predictions", "datatype": "BYTES", "shape": [2], "data": ["rich", "poor"]},
            {"name": "probabilities", "datatype": "FP64", "shape": [2, 2], "data": [0.25, 0.75, 1.0, 0.0]},
        ],
    }


def test_only_the_outputs_that_were_asked_for_are_given_in_their_order() -> None:
    names = [{"name": "probabilities"}, {"name": "predictions"}]
    for wanted in (names, names[:1]):
        outputs = answered(asked(MIXED, {**REQUEST, "outputs": wanted}))["outputs"]
        assert [output["name"] for output in outputs] == [output["name"] for output in wanted]
    with pytest.raises(BodyUnreadable, match='no output "logits"; it has predictions, probabilities'):
        asked(MIXED, {**REQUEST, "outputs": [{"name": "logits"}]})


def test_outputs_in_binary_are_what_the_client_reads() -> None:
    wanted = [InferRequestedOutput("probabilities", binary_data=True), InferRequestedOutput("predictions", False)]
    request = by_client(
        MIXED,
        tensor("age", np.array([1.0]), "FP64", binary=True),
        tensor("city", np.array(["Oslo"], dtype=object), "BYTES", binary=True),
        tensor("member", np.array([True]), "BOOL", binary=True),
        outputs=wanted,
    )
    reply = request.reply(CLASSIFIED)
    result = InferenceServerClient.parse_response_body(
        reply.body, header_length=int(reply.headers["inference-header-content-length"])
    )
    assert result.as_numpy("probabilities").tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert result.as_numpy("predictions").tolist() == ["rich", "poor"]
    assert reply.type == "application/octet-stream"


@pytest.mark.parametrize(
    ("signature", "rendered"),
    [
        (MIXED, ["ünïcode", ""]),
        (NUMBERS, [1.5, -2e300]),
        (IMAGES, [3, -7]),
        (TEXTS, [True, False]),
        (WRITER, ["", "🎉"]),
    ],
    ids=["text", "number", "whole number", "boolean", "written"],
)
def test_each_kind_of_output_is_the_same_in_binary_as_in_json(signature: Signature, rendered: list[Any]) -> None:
    facts = signature.outputs[0]
    written, content = tensors.write_binary(facts, rendered)
    head = json.dumps({"outputs": [written]}).encode()
    result = InferenceServerClient.parse_response_body(head + content, header_length=len(head))
    found = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy(facts.name).tolist()]
    assert found == rendered == tensors.write_json(facts, rendered)["data"]


def test_metadata_tells_the_true_names_types_and_shapes() -> None:
    facts = json.loads(v2.describe(MIXED, "houses", "run-1").body)
    assert facts["inputs"] == [
        {"name": "age", "datatype": "FP64", "shape": [-1, 1]},
        {"name": "city", "datatype": "BYTES", "shape": [-1, 1]},
        {"name": "member", "datatype": "BOOL", "shape": [-1, 1]},
    ]
    assert facts["outputs"][1] == {
        "name": "probabilities",
        "datatype": "FP64",
        "shape": [-1, 2],
        "parameters": {"labels": ["poor", "rich"]},
    }
    assert (facts["name"], facts["versions"]) == ("houses", ["run-1"])


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "The body is not JSON"),
        ([], "The body is a list; it must be an object."),
        ({}, "inputs must be a list of one or more tensors"),
        ({"inputs": []}, "inputs must be a list of one or more tensors"),
        ({"inputs": [5]}, "must be an object with name, shape, datatype and data"),
        (one("x", "FP8", [1, 3], [1, 2, 3]), "no datatype that is known"),
        (one("x", ["FP32"], [1, 3], [1, 2, 3]), "no datatype that is known"),  # type: ignore[arg-type]
        (one("x", "FP32", [], []), "must be 1 to 8 whole numbers above 0"),
        (one("x", "FP32", [0, 3], []), "must be 1 to 8 whole numbers above 0"),
        (one("x", "FP32", [-1, 3], [1, 2, 3]), "must be 1 to 8 whole numbers above 0"),
        (one("x", "FP32", [True, 3], [1, 2, 3]), "must be 1 to 8 whole numbers above 0"),
        (one("x", "FP32", [1] * 9, [1]), "must be 1 to 8 whole numbers above 0"),
        (one("x", "FP32", [1 << 62, 1 << 62], [1]), "has 1 values; its shape"),
        (one("x", "FP32", [1, 3], [1, 2]), "has 2 values; its shape [1, 3] has 3"),
        (one("x", "FP32", [1, 3], "abc"), "must be a list"),
        (one("x", "FP32", [1, 3], [1, 2, "3"]), "which is FP32, must be numbers or null"),
        (one("x", "FP32", [1, 3], [1, 2, True]), "which is FP32, must be numbers or null"),
        (one("x", "INT32", [1, 3], [1, 2, 3.5]), "which is INT32, must be whole numbers"),
        (one("x", "INT32", [1, 3], [1, 2, None]), "which is INT32, must be whole numbers"),
        (one("x", "BOOL", [1, 3], [1, 0, 1]), "which is BOOL, must be true or false"),
        (one("x", "BYTES", [1, 3], [1, 2, 3]), "which is BYTES, must be texts or null"),
        (one("x", "FP32", [1, 4], [1, 2, 3, 4]), "has the shape [1, 4]; the model reads [rows, 3]"),
        (one("x", "FP32", [3], [1, 2, 3]), "has the shape [3]; the model reads [rows, 3]"),
        (one("a", "FP32", [3], [1, 2, 3]), "has the shape [3]; the model reads [rows, 3]"),
        ({**one("x", "FP32", [1, 3], [1, 2, 3]), "id": 5}, "id is the number 5; it must be a text."),
        ({**one("x", "FP32", [1, 3], [1, 2, 3]), "parameters": 5}, "parameters is the number 5"),
        ({**one("x", "FP32", [1, 3], [1, 2, 3]), "outputs": [5]}, "outputs must be a list of objects with a name."),
        ({"inputs": one("a", "FP32", [1], [1])["inputs"] * 2}, "Two of the inputs have the same name."),
        (
            {"inputs": [one(name, "FP32", [1], [1])["inputs"][0] for name in ("a", "b")]},
            'Missing are the inputs "c"; the model reads "a", "b", "c".',
        ),
        (
            {"inputs": [one(name, "FP32", [1], [1])["inputs"][0] for name in ("a", "b", "c", "d")]},
            'The model knows no inputs "d"',
        ),
        (
            {"inputs": [one(name, "FP32", [1, 1, 2], [1, 2])["inputs"][0] for name in ("a", "b")]},
            "it must be [rows] or [rows, 1]",
        ),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(body: Any, sentence: str) -> None:
    with pytest.raises(BodyUnreadable) as refusal:
        asked(NUMBERS, body)
    assert sentence in refusal.value.detail
    reply = v2.refuse(refusal.value, "r-1")
    assert (reply.status, json.loads(reply.body)) == (400, {"error": refusal.value.detail})


def binary(datatype: str, shape: list[int], size: Any, **more: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": size}
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape, "parameters": parameters, **more}]}


@pytest.mark.parametrize(
    ("content", "rest", "sentence"),
    [
        (binary("FP32", [1, 3], 12), b"1234", "The body ends before the 12 bytes"),
        (binary("FP32", [1, 3], 12), b"1" * 16, "4 bytes follow the last input"),
        (binary("FP32", [1, 3], 8), b"1" * 8, "has 8 bytes; its shape [1, 3] has 12"),
        (binary("FP32", [1, 3], -1), b"1" * 8, "must be a whole number of bytes"),
        (binary("FP32", [1, 3], "12"), b"1" * 12, "must be a whole number of bytes"),
        (binary("FP32", [1, 3], 12, data=[1, 2, 3]), b"1" * 12, "both data and a binary_data_size"),
        (binary("BYTES", [1, 1], 3), b"\x01\x00\x00", "ends inside an element"),
        (binary("BYTES", [1, 1], 6), b"\xff\xff\xff\xff12", "ends inside an element"),
        (binary("BYTES", [1, 1], 8), b"\x00" * 8, "has 2 elements; its shape [1, 1] has 1"),
        (binary("BYTES", [1, 3], 15), b"\x01\x00\x00\x00\xff" * 3, "bytes that are no text in UTF-8"),
    ],
)
def test_binary_that_does_not_add_up_is_refused(content: Any, rest: bytes, sentence: str) -> None:
    with pytest.raises(BodyUnreadable) as refusal:
        asked(NUMBERS, content, rest)
    assert sentence in refusal.value.detail


@pytest.mark.parametrize("length", ["x", "-1", "", "1e3", "99999999", "9" * 30])
def test_a_length_of_the_json_that_cannot_be_is_refused(length: str) -> None:
    with pytest.raises(BodyUnreadable, match="Inference-Header-Content-Length"):
        asked(NUMBERS, one("x", "FP32", [1, 3], [1, 2, 3]), inference_header_content_length=length)


@given(content=st.binary(max_size=200), length=st.integers(0, 200))
def test_no_bytes_do_more_than_be_refused(content: bytes, length: int) -> None:
    head = json.dumps(binary("BYTES", [1, 3], length)).encode()
    with contextlib.suppress(BodyUnreadable):
        infer.read(head + content, {infer.JSON_LENGTH: str(len(head)).encode()}, NUMBERS, "m", "1")
