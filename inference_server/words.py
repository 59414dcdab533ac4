"""Words for refusals: how a sentence names a JSON value that was sent, and where it stood."""

from __future__ import annotations

import json

SHOWN_CHARACTERS = 40


def shown(value: object) -> str:
    """A JSON value as a noun, shortened."""
    match value:
        case None:
            return "null"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {short(value)}"
        case list():
            return "a list"
    return "an object"


def short(text: str) -> str:
    """A text in quotes, cut where it is long."""
    return json.dumps(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…", ensure_ascii=False)


def escaped(name: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
