"""Inference requests of the Open Inference Protocol, in JSON and with its binary tensor extension."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from inference_server.families.rows import Feature
from inference_server.families.texts import OPTIONS
from inference_server.messages import Answer
from inference_server.problems import BodyUnreadable
from inference_server.protocols.bodies import Asked, Headers, Rendered, json_object
from inference_server.protocols.signature import Signature, TensorFacts
from inference_server.protocols.tensors import Array, Binary, Tensor, read_tensor, write_binary, write_json
from inference_server.words import short, shown

JSON_LENGTH = b"inference-header-content-length"

Outputs = Sequence[tuple[TensorFacts, bool]]
"""The outputs that were asked for, and whether in binary."""


def read(body: bytes | bytearray, headers: Headers, signature: Signature, model: str, version: str) -> Asked:
    """An inference request for `model` of `version`. Raises `BodyUnreadable`."""
    view = memoryview(body)
    length = _json_length(headers.get(JSON_LENGTH), len(view))
    content = json_object(view[:length], nan_is_null=True)
    parameters = _parameters(content)
    outputs = _outputs(content.get("outputs"), signature, parameters.get("binary_data_output") is True)
    request_id = content.get("id")
    if not isinstance(request_id, str | None):
        raise BodyUnreadable(f"id is {shown(request_id)}; it must be a text.")
    options = {name: parameters[name] for name in OPTIONS if name in parameters} if signature.generates else {}
    data = _data(_tensors(content.get("inputs"), Binary(view[length:])), signature, options)
    head = {"model_name": model, "model_version": version, **({} if request_id is None else {"id": request_id})}
    return Asked(data, lambda rendered: _write(head, outputs, rendered))


def _json_length(stated: bytes | None, size: int) -> int:
    if stated is None:
        return size
    if not stated.isdigit() or len(stated) > 18 or int(stated) > size:
        raise BodyUnreadable("Inference-Header-Content-Length must say how many of the body's bytes are JSON.")
    return int(stated)


def _parameters(content: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = content.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BodyUnreadable(f"parameters is {shown(parameters)}; it must be an object.")
    return parameters


def _tensors(inputs: object, binary: Binary) -> list[Tensor]:
    if not isinstance(inputs, list) or not inputs:
        raise BodyUnreadable("inputs must be a list of one or more tensors.")
    tensors = [read_tensor(content, binary) for content in inputs]
    binary.finish()
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise BodyUnreadable("Two of the inputs have the same name.")
    return tensors


def _outputs(asked: object, signature: Signature, binary: bool) -> Outputs:
    if not asked:
        return [(facts, binary) for facts in signature.outputs]
    if not isinstance(asked, list) or not all(isinstance(output, dict) for output in asked):
        raise BodyUnreadable("outputs must be a list of objects with a name.")
    known = {facts.name: facts for facts in signature.outputs}
    for output in asked:
        if not isinstance(name := output.get("name"), str) or name not in known:
            raise BodyUnreadable(f"The model has no output {short(str(name))}; it has {', '.join(known)}.")
    return [(known[output["name"]], _parameters(output).get("binary_data", binary) is True) for output in asked]


def _data(tensors: Sequence[Tensor], signature: Signature, options: Mapping[str, Any]) -> dict[str, object]:
    if signature.items == "images":
        return signature.of_columns({tensor.name: _images(tensor) for tensor in tensors}, options)
    if signature.items == "texts":
        return signature.of_columns({tensor.name: _column(tensor, "category") for tensor in tensors}, options)
    features, first = signature.features, tensors[0]
    names = {feature.name for feature in features}
    if len(tensors) == 1 and (len(features) > 1 or first.name not in names):
        return signature.of_items(_rows_of_table(first, features))
    kinds = {feature.name: feature.kind for feature in features}
    return signature.of_columns({tensor.name: _column(tensor, kinds.get(tensor.name, "")) for tensor in tensors})


def _rows_of_table(tensor: Tensor, features: Sequence[Feature]) -> list[list[object]]:
    array, width = tensor.array, len(features)
    if array.ndim != 2 or array.shape[1] != width:
        raise BodyUnreadable(
            f"The input {short(tensor.name)} has the shape {list(array.shape)}; the model reads [rows, {width}], "
            f"or each of its inputs as a tensor of its own: {', '.join(f.name for f in features)}."
        )
    values = _values(array, tensor.name)
    rows = [values[start : start + width] for start in range(0, len(values), width)]
    for index, feature in enumerate(features):
        if feature.kind == "boolean":
            for row in rows:
                row[index] = _boolean(row[index])
    return rows


def _column(tensor: Tensor, kind: str) -> list[object]:
    array = tensor.array
    if array.ndim > 2 or array.shape[1:] not in ((), (1,)):
        shape = list(array.shape)
        raise BodyUnreadable(f"The input {short(tensor.name)} has the shape {shape}; it must be [rows] or [rows, 1].")
    values = _values(array, tensor.name)
    return [_boolean(value) for value in values] if kind == "boolean" else values


def _values(array: Array, name: str) -> list[object]:
    """All values, as JSON has them: text for bytes, null for NaN."""
    values: list[object] = array.reshape(-1).tolist()
    if array.dtype == object:
        try:
            return [value.decode() if isinstance(value, bytes) else value for value in values]
        except UnicodeDecodeError as error:
            raise BodyUnreadable(f"The input {short(name)} holds bytes that are no text in UTF-8.") from error
    if array.dtype.kind == "f":
        return [None if value != value else value for value in values]
    return values


def _boolean(value: object) -> object:
    """Where booleans belong, 0 and 1 are such."""
    return bool(value) if value in (0, 1) else value


def _images(tensor: Tensor) -> list[object]:
    """Arrays of pixels, or in BYTES files: as they are in binary, in base64 in JSON."""
    if tensor.datatype != "BYTES":
        return list(tensor.array)
    files = tensor.array.reshape(-1).tolist()
    return [base64.b64encode(file).decode() if isinstance(file, bytes) else file for file in files]


def _write(head: Mapping[str, Any], outputs: Outputs, rendered: Rendered) -> Answer:
    written, contents = [], []
    for facts, binary in outputs:
        values = _rows(facts, rendered)
        if binary:
            content, data = write_binary(facts, values)
            contents.append(data)
        else:
            content = write_json(facts, values)
        written.append(content)
    text = orjson.dumps({**head, "outputs": written})
    if not contents:
        return Answer(200, text)
    length = {"inference-header-content-length": str(len(text))}
    return Answer(200, b"".join((text, *contents)), "application/octet-stream", length)


def _rows(facts: TensorFacts, rendered: Rendered) -> Sequence[Any]:
    if facts.name == "probabilities":
        return [list(row.values()) for row in rendered["probabilities"]]
    values: Sequence[Any] = rendered[facts.name]
    return values
