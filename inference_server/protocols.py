"""Protocols: how a request body becomes a model's `data`, and a model's answer a response body.

There is one so far, the platform's own: `{"userId": "user-1234", "data": {...}}`, where `userId` may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from inference_server.problems import BodyUnreadable
from inference_server.words import escaped, short, shown

UNKNOWN_NUMBER = re.compile(rb"NaN|Infinity")
FIELDS = frozenset({"userId", "data"})


def read_body(body: bytes | bytearray) -> object:
    """The `data` of a request. Raises `BodyUnreadable`. Of a name that comes twice the last one counts."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        hint = " NaN and Infinity are not JSON; send null for a missing value." if UNKNOWN_NUMBER.search(body) else ""
        raise BodyUnreadable(f"The body is not JSON: {error}.{hint}", "") from error
    if not isinstance(content, dict):
        raise BodyUnreadable(f"The body is {shown(content)}; it must be an object with data.", "")
    if not content.keys() <= FIELDS:
        unknown = next(name for name in content if name not in FIELDS)
        raise BodyUnreadable(
            f"The body has an unknown field {short(unknown)}; known are userId and data.", f"/{escaped(unknown)}"
        )
    if not isinstance(content.get("userId"), str | None):
        raise BodyUnreadable(f"userId is {shown(content['userId'])}; it must be a text.", "/userId")
    if "data" not in content:
        raise BodyUnreadable("The body has no data.", "/data")
    return content["data"]


def write_body(answer: Mapping[str, Any]) -> bytes:
    return orjson.dumps(answer)
