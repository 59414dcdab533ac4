"""The V1 protocol of TensorFlow Serving and KServe: rows as `instances`, or columns as `inputs`."""

from __future__ import annotations

import orjson

from inference_server.messages import Answer
from inference_server.problems import BodyUnreadable, Problem
from inference_server.protocols.bodies import Asked, Rendered, json_object, refuse_unknown
from inference_server.protocols.signature import Signature
from inference_server.words import shown

FIELDS = ("instances", "inputs", "signature_name", "parameters")


def read(body: bytes | bytearray, signature: Signature) -> Asked:
    """A predict request. Raises `BodyUnreadable`.

    `parameters` are the options of text generation. Rows are answered as `predictions`; to `inputs`, TensorFlow
    Serving's clients look for `outputs` and KServe's for `predictions`, so both are given.
    """
    content = json_object(body, nan_is_null=True)
    refuse_unknown(content, FIELDS)
    if ("instances" in content) == ("inputs" in content):
        raise BodyUnreadable("The body must have either instances (rows) or inputs (columns).")
    options = content.get("parameters") or {}
    if not isinstance(options, dict):
        raise BodyUnreadable(f"parameters is {shown(options)}; it must be an object.")
    if "instances" in content:
        return Asked(of_rows("instances", content["instances"], signature, options), _predictions)
    return Asked(of_inputs(content["inputs"], signature, options), _outputs)


def of_rows(field: str, rows: object, signature: Signature, options: dict[str, object]) -> dict[str, object]:
    """Data from the list of rows that stood in `field`. Raises `BodyUnreadable`."""
    if not isinstance(rows, list) or not rows:
        raise BodyUnreadable(f"{field} is {'empty' if rows == [] else shown(rows)}; it must be a list of rows.")
    return signature.of_items(rows, options)


def of_inputs(inputs: object, signature: Signature, options: dict[str, object]) -> dict[str, object]:
    """Data from a list of rows, or an object with a list of values a column. Raises `BodyUnreadable`."""
    if not isinstance(inputs, dict):
        return of_rows("inputs", inputs, signature, options)
    for name, column in inputs.items():
        if not isinstance(column, list) or not column:
            raise BodyUnreadable(f"inputs must be an object of lists, but {name} is {shown(column)}.")
    return signature.of_columns({name: _flat(column) for name, column in inputs.items()}, options)


def describe(model: str, version: str) -> Answer:
    """The model's status as TensorFlow Serving gives it, with the name and readiness that KServe gives."""
    status = {"error_code": "OK", "error_message": ""}
    versions = [{"version": version, "state": "AVAILABLE", "status": status}]
    return Answer.json(200, {"name": model, "ready": True, "model_version_status": versions})


def refuse(problem: Problem, request_id: str) -> Answer:
    """What the caller can mend is 400, as in other servers of the protocol."""
    status = 400 if problem.status == 422 else problem.status
    return Answer(status, orjson.dumps({"error": problem.detail}), headers=problem.headers)


def _predictions(rendered: Rendered) -> Answer:
    return Answer.json(200, {"predictions": rendered["predictions"]})


def _outputs(rendered: Rendered) -> Answer:
    return Answer.json(200, {"outputs": rendered["predictions"], "predictions": rendered["predictions"]})


def _flat(column: list[object]) -> list[object]:
    """A column of a tensor (rows, 1) as one of (rows)."""
    return [value[0] if isinstance(value, list) and len(value) == 1 else value for value in column]
