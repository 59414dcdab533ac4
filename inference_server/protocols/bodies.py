"""Bodies: JSON objects from requests, whatever the protocol, and what a protocol makes of one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

from inference_server.messages import Answer
from inference_server.problems import BodyUnreadable, ModelUnknown
from inference_server.words import escaped, short, shown

Headers = Mapping[bytes, bytes]
"""A request's headers, their names in lower case."""

Rendered = Mapping[str, Any]
"""What a family's `render` gives: `predictions`, one a row, and for classifiers `probabilities`."""

_UNKNOWN_NUMBER = re.compile(rb"NaN|Infinity")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prediction that was asked for: the `data` for the family's `parse`, and how its outputs are answered."""

    data: object
    reply: Callable[[Rendered], Answer]


def json_object(body: bytes | bytearray | memoryview, *, nan_is_null: bool = False) -> dict[str, Any]:
    """The JSON object that a body is. Raises `BodyUnreadable`. Of a name that comes twice the last one counts.

    With `nan_is_null` a NaN, which Python's clients of several protocols write though JSON has none, is read as null.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not _UNKNOWN_NUMBER.search(body):
            raise BodyUnreadable(f"The body is not JSON: {error}.", "") from error
        content = _with_nan(body, error) if nan_is_null else _without_nan(error)
    if not isinstance(content, dict):
        raise BodyUnreadable(f"The body is {shown(content)}; it must be an object.", "")
    return content


def _without_nan(error: ValueError) -> NoReturn:
    raise BodyUnreadable(
        f"The body is not JSON: {error}. NaN and Infinity are not JSON; send null for a missing value.", ""
    ) from error


def _with_nan(body: bytes | bytearray | memoryview, error: ValueError) -> object:
    try:
        lenient = json.loads(bytes(body), parse_constant=_missing)
        return orjson.loads(orjson.dumps(lenient))  # which has neither half characters nor endless numbers
    except (ValueError, TypeError, RecursionError):
        _without_nan(error)


def _missing(constant: str) -> None:
    if constant != "NaN":
        raise ValueError(f"{constant} is no number that can be computed with")


def refuse_unknown(content: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raises `BodyUnreadable` if there is a field that is not one of `known`."""
    if unknown := next((name for name in content if name not in known), None):
        raise BodyUnreadable(
            f"The body has an unknown field {short(unknown)}; known are {', '.join(known)}.", f"/{escaped(unknown)}"
        )


def unknown_model(asked: object, models: Collection[str]) -> ModelUnknown:
    name = short(asked) if isinstance(asked, str) else shown(asked)
    return ModelUnknown(f"There is no model {name} here; served is {' or '.join(map(short, models))}.", "/model")
