"""The protocol of MLflow's scoring server: `/invocations` with data frames in JSON or CSV, or with V1's rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any

import orjson

from inference_server.families.rows import Feature
from inference_server.messages import Answer
from inference_server.problems import BodyUnreadable, MediaTypeUnknown, Problem
from inference_server.protocols.bodies import Asked, Headers, Rendered, json_object, refuse_unknown
from inference_server.protocols.signature import Signature
from inference_server.protocols.v1 import of_inputs, of_rows
from inference_server.words import short, shown

VERSION = "3.17.2"
"""Of the MLflow whose scoring server this does as."""

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CODES: Mapping[int, str] = {404: "RESOURCE_DOES_NOT_EXIST", 413: "BAD_REQUEST", 503: "TEMPORARILY_UNAVAILABLE"}
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "None"})
"""Cells of a CSV that hold nothing, as pandas has them."""


def read(body: bytes | bytearray, headers: Headers, signature: Signature) -> Asked:
    """An invocation. Raises `BodyUnreadable`, `MediaTypeUnknown`. `params` are the options of text generation."""
    if _content_type(headers) == "text/csv":
        return Asked(_from_csv(body, signature), _predictions)
    content = json_object(body, nan_is_null=True)
    refuse_unknown(content, (*FORMATS, "params"))
    options = content.pop("params", None) or {}
    if not isinstance(options, dict):
        raise BodyUnreadable(f"params is {shown(options)}; it must be an object.")
    if len(content) != 1:
        raise BodyUnreadable(f"The body must have exactly one of {', '.join(FORMATS)}.")
    ((name, value),) = content.items()
    return Asked(_READERS[name](value, signature, options), _predictions)


def refuse(problem: Problem, request_id: str) -> Answer:
    """As MLflow writes its exceptions. What the caller can mend is 400."""
    status = 400 if problem.status == 422 else problem.status
    code = "INVALID_PARAMETER_VALUE" if status == 400 else CODES.get(status, "INTERNAL_ERROR")
    content = {"error_code": code, "message": problem.detail}
    return Answer(status, orjson.dumps(content), headers=problem.headers)


def _content_type(headers: Headers) -> str:
    """`application/json` or `text/csv`."""
    value = headers.get(b"content-type", b"application/json").decode("latin-1")
    if value == "application/json":
        return value
    stated = Message()
    stated["content-type"] = value
    if stated.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise MediaTypeUnknown("Bodies are read in UTF-8 only.")
    found = stated.get_content_type()
    if found not in ("application/json", "text/csv"):
        raise MediaTypeUnknown(f"Content-Type is {short(found)}; read are application/json and text/csv.")
    return found


def _split(frame: object, signature: Signature, options: dict[str, object]) -> dict[str, object]:
    if not isinstance(frame, dict) or not isinstance(rows := frame.get("data"), list) or not rows:
        raise BodyUnreadable("dataframe_split must be an object with columns and data, a list of rows.")
    columns = frame.get("columns")
    if columns is None:
        return of_rows("data", rows, signature, options)
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BodyUnreadable("The columns of dataframe_split must be a list of names.")
    return signature.of_columns(_by_column(columns, rows), options)


def _by_column(names: Sequence[str], rows: Sequence[object]) -> dict[str, list[object]]:
    if len(set(names)) < len(names):
        raise BodyUnreadable("Two columns have the same name.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            what = f"{len(row)} values" if isinstance(row, list) else shown(row)
            raise BodyUnreadable(f"Row {number} is {what}; it must be a list of {len(names)} values.")
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _records(records: object, signature: Signature, options: dict[str, object]) -> dict[str, object]:
    return of_rows("dataframe_records", records, signature, options)


def _instances(rows: object, signature: Signature, options: dict[str, object]) -> dict[str, object]:
    return of_rows("instances", rows, signature, options)


_READERS: Mapping[str, Callable[[Any, Signature, dict[str, object]], dict[str, object]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": of_inputs,
}


def _from_csv(body: bytes | bytearray, signature: Signature) -> dict[str, object]:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BodyUnreadable(f"The body is not CSV in UTF-8: {error}.") from error
    rows = [row for row in rows if row]
    if len(rows) < 2:
        raise BodyUnreadable("The CSV must have a line with the columns' names and one or more rows.")
    columns = _by_column(rows[0], rows[1:])
    kinds = {feature.name: feature for feature in signature.features}
    return signature.of_columns({name: _cells(column, kinds.get(name)) for name, column in columns.items()})


def _cells(column: Sequence[object], feature: Feature | None) -> list[object]:
    if feature is None:
        return list(column)
    return [None if cell in MISSING else _CELLS[feature.kind](str(cell)) for cell in column]


def _number(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell  # which the model's family refuses, with its row and column


def _boolean(cell: str) -> object:
    return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(cell.lower(), cell)


_CELLS: Mapping[str, Callable[[str], object]] = {"number": _number, "boolean": _boolean, "category": str}


def _predictions(rendered: Rendered) -> Answer:
    return Answer.json(200, {"predictions": rendered["predictions"]})
