"""Whatever is sent, a protocol reads it or refuses it in its own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference_server.problems import Problem
from inference_server.protocols import infer, mlflow, openai, v1, v2
from inference_server.protocols.signature import Signature
from tests.inference_server.protocols.cards import IMAGES, MIXED, NUMBERS, TEXTS, WRITER

NAMES = st.sampled_from(
    [
        "instances",
        "inputs",
        "outputs",
        "data",
        "name",
        "shape",
        "datatype",
        "parameters",
        "id",
        "columns",
        "dataframe_split",
        "dataframe_records",
        "params",
        "model",
        "prompt",
        "messages",
        "role",
        "content",
        "n",
        "stop",
        "stream",
        "stream_options",
        "max_tokens",
        "logprobs",
        "text",
        "a",
        "b",
        "c",
        "age",
        "city",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([2**64, 10**40, -1, 0.5, float("nan"), float("inf"), "FP32", "BYTES", "BOOL", "writer", "user"])
    | st.text(max_size=3)
)
THINGS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.sampled_from(["\ud800", "\x00"]), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(NAMES, THINGS, min_size=1, max_size=4).map(lambda content: json.dumps(content).encode())
READERS: dict[str, tuple[Callable[[bytes, Signature], Any], Any]] = {
    "v2": (lambda body, signature: infer.read(body, {}, signature, "m", "1"), v2.refuse),
    "v1": (v1.read, v1.refuse),
    "mlflow": (lambda body, signature: mlflow.read(body, {}, signature), mlflow.refuse),
    "csv": (lambda body, signature: mlflow.read(body, {b"content-type": b"text/csv"}, signature), mlflow.refuse),
    "completions": (lambda body, _: openai.read_completion(body, ("writer",)), openai.refuse),
    "chat": (lambda body, _: openai.read_chat(body, ("writer",)), openai.refuse),
}


@pytest.mark.parametrize("protocol", sorted(READERS))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODIES | st.binary(max_size=40), signature=st.sampled_from([NUMBERS, MIXED, IMAGES, TEXTS, WRITER]))
def test_it_is_read_or_refused(protocol: str, body: bytes, signature: Signature) -> None:
    read, refuse = READERS[protocol]
    try:
        read(body, signature)
    except Problem as problem:
        answer = refuse(problem, "r-1")
        assert 400 <= answer.status < 500
        assert json.loads(answer.body)


@pytest.mark.parametrize("body", [b'{"instances": [NaN], "\\ud800": 1}', b'{"instances": [[NaN, "\\udc00", 1]]}'])
def test_half_a_character_does_not_slip_in_beside_a_nan(body: bytes) -> None:
    with pytest.raises(Problem, match="The body is not JSON"):
        v1.read(body, MIXED)
