"""Tensors of the Open Inference Protocol, in JSON or in its binary extension, to NumPy arrays and back.

In binary, numbers are little-endian, row by row; a BYTES element is its length in four bytes, then its content.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from inference_server.problems import BodyUnreadable
from inference_server.protocols.signature import TensorFacts
from inference_server.words import short

Array = np.ndarray[Any, np.dtype[Any]]

NUMBERS: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?",
        "UINT8": "<u1",
        "UINT16": "<u2",
        "UINT32": "<u4",
        "UINT64": "<u8",
        "INT8": "<i1",
        "INT16": "<i2",
        "INT32": "<i4",
        "INT64": "<i8",
        "FP16": "<f2",
        "FP32": "<f4",
        "FP64": "<f8",
    }.items()
}
MOST_DIMENSIONS = 8
_LENGTH = struct.Struct("<I")
_JSON_TYPES: Mapping[str, tuple[frozenset[type], str]] = {
    "b": (frozenset({bool}), "true or false"),
    "u": (frozenset({int}), "whole numbers"),
    "i": (frozenset({int}), "whole numbers"),
    "f": (frozenset({float, int, type(None)}), "numbers or null"),
    "O": (frozenset({str, type(None)}), "texts or null"),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """`array` has the tensor's shape. BYTES are objects: `bytes` where they came in binary, else `str` or None."""

    name: str
    datatype: str
    array: Array


class Binary:
    """What follows the JSON of a body, to be taken piece by piece."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def take(self, size: int, name: str) -> memoryview:
        if size > len(self._content):
            raise BodyUnreadable(f"The body ends before the {size} bytes of the input {short(name)}.")
        taken, self._content = self._content[:size], self._content[size:]
        return taken

    def finish(self) -> None:
        if self._content:
            raise BodyUnreadable(f"{len(self._content)} bytes follow the last input; no binary_data_size counts them.")


def read_tensor(content: object, binary: Binary) -> Tensor:
    """One of a request's `inputs`. Raises `BodyUnreadable`."""
    if not isinstance(content, dict) or not isinstance(name := content.get("name"), str):
        raise BodyUnreadable("Each of inputs must be an object with name, shape, datatype and data.")
    shape, datatype = _shape(content.get("shape"), name), content.get("datatype")
    if datatype != "BYTES" and (not isinstance(datatype, str) or datatype not in NUMBERS):
        raise BodyUnreadable(f"The input {short(name)} has no datatype that is known: {', '.join(NUMBERS)}, BYTES.")
    parameters = content.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return Tensor(name, datatype, _from_json(content.get("data"), shape, datatype, name))
    if type(size) is not int or size < 0:
        raise BodyUnreadable(f"The binary_data_size of the input {short(name)} must be a whole number of bytes.")
    if "data" in content:
        raise BodyUnreadable(f"The input {short(name)} has both data and a binary_data_size; send one of them.")
    return Tensor(name, datatype, _from_binary(binary.take(size, name), shape, datatype, name))


def _shape(shape: object, name: str) -> tuple[int, ...]:
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= MOST_DIMENSIONS
        or not all(type(length) is int and length > 0 for length in shape)
    ):
        sentence = f"The shape of the input {short(name)} must be 1 to {MOST_DIMENSIONS} whole numbers above 0."
        raise BodyUnreadable(sentence)
    return tuple(shape)


def _from_json(values: object, shape: tuple[int, ...], datatype: str, name: str) -> Array:
    if not isinstance(values, list):
        raise BodyUnreadable(f"The data of the input {short(name)} must be a list.")
    for _ in range(len(shape) - 1):
        if not all(isinstance(value, list) for value in values):
            break
        values = list(chain.from_iterable(values))
    if len(values) != math.prod(shape):
        raise BodyUnreadable(_miscounted(name, len(values), "values", shape, math.prod(shape)))
    dtype = NUMBERS.get(datatype, np.dtype(object))
    allowed, words = _JSON_TYPES[dtype.kind]
    if not allowed.issuperset(map(type, values)):
        raise BodyUnreadable(f"The data of the input {short(name)}, which is {datatype}, must be {words}.")
    try:
        if dtype.kind != "f" or dtype.itemsize == 8:
            return np.array(values, dtype).reshape(shape)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            return np.array(values, dtype).reshape(shape)
    except OverflowError as error:
        raise BodyUnreadable(f"The input {short(name)} holds a number that no {datatype} can be.") from error


def _from_binary(content: memoryview, shape: tuple[int, ...], datatype: str, name: str) -> Array:
    count = math.prod(shape)
    if datatype == "BYTES":
        elements = list(_elements(content, name))
        if len(elements) != count:
            raise BodyUnreadable(_miscounted(name, len(elements), "elements", shape, count))
        array = np.empty(count, dtype=object)
        array[:] = elements
        return array.reshape(shape)
    dtype = NUMBERS[datatype]
    if len(content) != count * dtype.itemsize:
        raise BodyUnreadable(_miscounted(name, len(content), "bytes", shape, count * dtype.itemsize))
    numbers: Array = np.frombuffer(content, dtype)
    if datatype == "BOOL":  # any byte but 0 is true, and NumPy would keep which
        numbers = numbers.view(np.uint8) != 0
    return numbers.reshape(shape)


def _elements(content: memoryview, name: str) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        end = start + _LENGTH.size
        if end <= len(content):
            end += _LENGTH.unpack_from(content, start)[0]
        if end > len(content) or end < start + _LENGTH.size:
            raise BodyUnreadable(f"The binary data of the input {short(name)} ends inside an element.")
        yield bytes(content[start + _LENGTH.size : end])
        start = end


def _miscounted(name: str, count: int, what: str, shape: tuple[int, ...], expected: int) -> str:
    return f"The input {short(name)} has {count} {what}; its shape {list(shape)} has {expected}."


def write_json(facts: TensorFacts, values: Sequence[Any]) -> dict[str, Any]:
    """An output: a value a row, or a list of values a row."""
    flat = values if len(facts.shape) == 1 else list(chain.from_iterable(values))
    if facts.datatype == "BYTES":
        flat = [_text(value) for value in flat]
    return {**_head(facts, values), "data": flat}


def write_binary(facts: TensorFacts, values: Sequence[Any]) -> tuple[dict[str, Any], bytes]:
    """An output as in `write_json`, and the bytes that are its data."""
    if facts.datatype == "BYTES":
        texts = [_text(value).encode() for value in values]
        content = b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    else:
        content = np.array(values, NUMBERS[facts.datatype]).tobytes()
    return {**_head(facts, values), "parameters": {"binary_data_size": len(content)}}, content


def _head(facts: TensorFacts, values: Sequence[Any]) -> dict[str, Any]:
    return {"name": facts.name, "datatype": facts.datatype, "shape": [len(values), *facts.shape[1:]]}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
