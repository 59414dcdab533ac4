"""Texts: what a request to a text family may hold."""

from __future__ import annotations

from collections.abc import Collection

from inference_server.families.base import InputUnreadable
from inference_server.words import escaped, short

MAX_TEXTS = 1024
"""Of one request to a classifier."""

MAX_CHARACTERS = 200_000
"""Of one text: some 100 pages. A model reads far less of it; a tokenizer would read it all."""

OPTIONS = ("maxNewTokens", "temperature", "topP", "seed", "stop")
"""What may stand beside the texts that are to be continued."""


def texts_of(data: object, most: int, options: Collection[str] = ()) -> list[tuple[str, str]]:
    """Pairs (JSON pointer, text) from `{"texts": [...]}` or `{"text": "..."}`, where `options` may stand beside.

    At most `most` texts. Raises `InputUnreadable`.
    """
    if not isinstance(data, dict) or ("texts" in data) == ("text" in data):
        raise InputUnreadable('data must be {"texts": [...]}, or {"text": "..."} for one.')
    if unknown := sorted(set(data) - {"texts", "text", *options}):
        raise InputUnreadable(f"data has the unknown field {short(unknown[0])}.", f"/data/{escaped(unknown[0])}")
    if "text" in data:
        return [("/data/text", _text(data["text"], "The text", "/data/text"))]
    texts = data["texts"]
    if not isinstance(texts, list) or not 1 <= len(texts) <= most:
        raise InputUnreadable(f"texts must be a list of 1 to {most} texts.", "/data/texts")
    pointers = [f"/data/texts/{index}" for index in range(len(texts))]
    numbered = enumerate(zip(pointers, texts, strict=True), 1)
    return [(pointer, _text(text, f"Text {number}", pointer)) for number, (pointer, text) in numbered]


def _text(value: object, name: str, pointer: str) -> str:
    if not isinstance(value, str):
        raise InputUnreadable(f"{name} must be a string.", pointer)
    if len(value) > MAX_CHARACTERS:
        raise InputUnreadable(f"{name} has more than {MAX_CHARACTERS} characters.", pointer)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InputUnreadable(f"{name} holds half of a surrogate pair, which is no character.", pointer)
    return value
