"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it: metadata and errors."""

from __future__ import annotations

from typing import Any

import orjson

from inference_server.messages import Answer
from inference_server.problems import Problem
from inference_server.protocols.signature import Signature, TensorFacts

EXTENSIONS = ("binary_tensor_data",)


def describe(signature: Signature, model: str, version: str) -> Answer:
    """The model's metadata."""
    return Answer.json(
        200,
        {
            "name": model,
            "versions": [version],
            "platform": f"modelyard_{signature.family}",
            "inputs": [_facts(facts) for facts in signature.inputs],
            "outputs": [_facts(facts) for facts in signature.outputs],
        },
    )


def refuse(problem: Problem, request_id: str) -> Answer:
    """The protocol's own error. What the caller can mend is 400, as in other servers of the protocol."""
    status = 400 if problem.status == 422 else problem.status
    return Answer(status, orjson.dumps({"error": problem.detail}), headers=problem.headers)


def _facts(facts: TensorFacts) -> dict[str, Any]:
    labels = {"parameters": {"labels": list(facts.labels)}} if facts.labels else {}
    return {"name": facts.name, "datatype": facts.datatype, "shape": list(facts.shape), **labels}
