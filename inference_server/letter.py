"""Letters: how the gateway tells a program what to do, as one JSON object in one environment variable.

A letter is a frozen dataclass whose fields are strings, booleans, integers or mappings. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self


class LetterUnreadable(Exception):  # noqa: N818
    """The letter is missing or does not say what it must; the text says what."""


class Letter:
    """The base of all letters. `from_env(letter.to_env()) == letter`."""

    VARIABLE: ClassVar[str]

    def to_env(self) -> dict[str, str]:
        return {self.VARIABLE: json.dumps(asdict(self), separators=(",", ":"), sort_keys=True)}  # type: ignore[call-overload]

    @classmethod
    def from_env(cls, environment: Mapping[str, str]) -> Self:
        if cls.VARIABLE not in environment:
            raise LetterUnreadable(f"The environment variable {cls.VARIABLE} is not set.")
        return cls.from_json(environment[cls.VARIABLE])

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a letter. Unknown, missing and wrongly typed fields are refused with a sentence."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise LetterUnreadable(f"{cls.VARIABLE} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise LetterUnreadable(f"{cls.VARIABLE} must be a JSON object.")
        cls._check(content)
        try:
            return cls(**content)
        except TypeError as error:
            raise LetterUnreadable(f"{cls.VARIABLE} is incomplete: {error}") from error

    @classmethod
    def _check(cls, content: Mapping[str, Any]) -> None:
        types = {f.name: str(f.type) for f in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(content) - set(types)):
            raise LetterUnreadable(f"{cls.VARIABLE} has unknown fields: {', '.join(unknown)}.")
        for name, value in content.items():
            if type(value) not in _TYPES[types[name]]:
                raise LetterUnreadable(f"{cls.VARIABLE}: {name} must be {types[name]}, not {type(value).__name__}.")


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "bool": (bool,),
    "int": (int,),
    "Mapping[str, Any]": (dict,),
}
