"""What a client prefers: the `Prefer` header (RFC 7240), of which `respond-async` and `wait` mean something here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LONGEST_WAIT = 10**9  # seconds; more is no other wish

_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')  # up to a comma that stands in no quoted string
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PREFERENCE = re.compile(rf'[ \t]*({_NAME})[ \t]*(?:=[ \t]*({_NAME}|"(?:[^"\\]|\\.)*")[ \t]*)?(?:;.*)?')


@dataclass(frozen=True, slots=True)
class Preferences:
    """`wait` is in seconds; None if it was not said, or not in a way that can be read."""

    respond_async: bool = False
    wait: int | None = None


def preferences(values: Iterable[str]) -> Preferences:
    """The preferences in these `Prefer` headers.

    As the RFC has it: of a preference that is named twice the first counts, an empty value is none, and what is
    unknown or cannot be read is ignored, alone.
    """
    named: dict[str, str] = {}
    for name, value in _listed(values):
        named.setdefault(name, value)
    return Preferences(named.get("respond-async") == "", _seconds(named.get("wait", "")))


def asks_async(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether these headers (of ASGI: names in lower case) prefer an answer later. For the hot path: most have none."""
    for name, _ in headers:
        if name == b"prefer":
            return preferences(value.decode("latin-1") for key, value in headers if key == b"prefer").respond_async
    return False


def _listed(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        for element in _ELEMENT.findall(value):
            if match := _PREFERENCE.fullmatch(element):
                yield match[1].lower(), _unquoted(match[2] or "")


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _seconds(value: str) -> int | None:
    if not (value.isascii() and value.isdigit()):
        return None
    digits = value.lstrip("0")
    return min(int(digits[:10] or "0"), LONGEST_WAIT)
