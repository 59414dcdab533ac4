"""The platform's own protocol: `{"userId": "user-1234", "data": {...}}`, where `userId` may be left out.

`"stream": true` asks for the answer as events, as does the header `Accept: text/event-stream`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from inference_server.problems import BodyUnreadable
from inference_server.protocols.bodies import json_object, refuse_unknown
from inference_server.words import shown

FIELDS = ("userId", "data", "stream")
_KNOWN = frozenset(FIELDS)


def read_body(body: bytes | bytearray | memoryview) -> object:
    """The `data` of a request to a model that answers at once. Raises `BodyUnreadable`."""
    data, stream = read(body)
    if stream:
        raise BodyUnreadable("This model answers at once; streamed is only text that a model writes.", "/stream")
    return data


def read(body: bytes | bytearray | memoryview) -> tuple[object, bool]:
    """The `data` of a request, and whether it asks to be answered as a stream. Raises `BodyUnreadable`."""
    content = json_object(body)
    if not content.keys() <= _KNOWN:
        refuse_unknown(content, FIELDS)
    if not isinstance(content.get("userId"), str | None):
        raise BodyUnreadable(f"userId is {shown(content['userId'])}; it must be a text.", "/userId")
    stream = content.get("stream", False)
    if type(stream) is not bool:
        raise BodyUnreadable(f"stream is {shown(stream)}; it must be true or false.", "/stream")
    if "data" not in content:
        raise BodyUnreadable("The body has no data.", "/data")
    return content["data"], stream


def write_body(answer: Mapping[str, Any]) -> bytes:
    return orjson.dumps(answer)
