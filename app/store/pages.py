"""Pages of a list, newest first: keyset pagination on the acceptance number, so a token survives inserts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.core.errors import InvalidParameter

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """`next_token` is empty at the end."""

    items: Sequence[Item]
    next_token: str


def page_query(table: sa.Table, filters: Sequence[sa.ColumnElement[bool]], size: int, token: str) -> sa.Select[Any]:
    """One row more than `size` is asked for: it tells whether there is a next page."""
    query = sa.select(table).where(*filters).order_by(table.c.sequence.desc()).limit(size + 1)
    return query.where(table.c.sequence < _position(token)) if token else query


def token_after(rows: Sequence[sa.Row[Any]], size: int) -> str:
    """The token behind the first `size` of `rows`."""
    if len(rows) <= size:
        return ""
    return base64.urlsafe_b64encode(f"v1:{rows[size - 1].sequence}".encode()).decode()


def _position(token: str) -> int:
    try:
        version, _, sequence = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if version == "v1" and 0 < int(sequence) < 2**62:
            return int(sequence)
    except (binascii.Error, ValueError):
        pass
    raise InvalidParameter("pageToken", "this is no token of ours; send the nextPageToken of the page before.")
