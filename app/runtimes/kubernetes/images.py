"""Which images a request may name: those of the registries and repositories that the settings allow."""

from __future__ import annotations

import re
from collections.abc import Sequence

ANY = "*"
_HOST = r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?P<path>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[a-f0-9]{{64}})?"
)
_PLACE = re.compile(rf"{_HOST}|(?:{_HOST}/)?{_PART}(?:/{_PART})*")


def is_place(text: str) -> bool:
    """Whether it names a registry or a repository, without a tag, or is `ANY`."""
    return text == ANY or _PLACE.fullmatch(text) is not None


def is_allowed(image: str, places: Sequence[str]) -> bool:
    """Whether `image` lies in one of these places: `reg.io/team` holds reg.io/team/a:1 and not reg.io/team-evil/a."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return False
    path = _whole(found["path"])
    return any(place == ANY or path[: len(_whole(place))] == _whole(place) for place in places)


def _whole(path: str) -> list[str]:
    """Its parts, the registry first: what names none is of Docker Hub, as every container engine reads it."""
    first, *rest = path.split("/")
    if "." in first or ":" in first or first == "localhost":
        return ["docker.io" if first == "index.docker.io" else first, *rest]
    return ["docker.io", *([] if rest else ["library"]), first, *rest]
