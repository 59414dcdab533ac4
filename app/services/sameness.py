"""Whether two bodies ask for the same thing: the natural key of a request is its task id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.core.errors import Cause


def differences(kept: Mapping[str, Any], asked: Mapping[str, Any], prefix: str = "") -> list[Cause]:
    """Where `asked` differs from what was `kept`, one cause for each field; empty if they ask for the same."""
    return list(_differences(kept, asked, prefix))


def _differences(kept: Mapping[str, Any], asked: Mapping[str, Any], prefix: str) -> Iterator[Cause]:
    for name in sorted(kept.keys() | asked.keys()):
        pointer = f"{prefix}/{name}"
        before, now = kept.get(name), asked.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, pointer)
        elif type(before) is not type(now) or before != now:
            yield Cause(pointer, f"{name} was {_shown(name, kept)} and is now {_shown(name, asked)}")


def _shown(name: str, body: Mapping[str, Any]) -> str:
    return repr(body[name]) if body.get(name) is not None else "not given"
