"""Which headers pass the gateway, in both directions, and the id that every request carries."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Collection
from typing import NamedTuple

Header = tuple[bytes, bytes]

# RFC 9110 section 7.6.1, with the older names that RFC 2616 listed.
_HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
TIMEOUT = b"x-request-timeout"  # seconds that are left to answer, as a decimal
DEADLINE = b"x-request-deadline"  # when they are over, in seconds since 1970: only as good as two clocks agree
# The credentials are meant for the gateway; the others are written anew for the replica. `expect` is met by our server.
REQUEST_STOPS = frozenset(
    _HOP_BY_HOP
    | {b"authorization", b"cookie", b"x-api-key"}
    | {b"host", b"content-length", b"expect", b"x-request-id", TIMEOUT, DEADLINE}
)
# Our server writes `date` and `server` itself. A model must not set cookies in the gateway's name.
ANSWER_STOPS = frozenset(_HOP_BY_HOP | {b"content-length", b"date", b"server", b"set-cookie", b"x-request-id"})

PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})
_SECONDS = re.compile(rb"[0-9]{1,9}(\.[0-9]{1,9})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PROCESS = secrets.token_hex(6).encode()
_count = itertools.count(1)


def request_id(offered: bytes | None) -> bytes:
    """The client's own id if it is 1 to 128 characters of [A-Za-z0-9._-], else a new one, unique in practice."""
    if offered is not None and _REQUEST_ID.fullmatch(offered):
        return offered
    return b"%b-%x" % (_PROCESS, next(_count))


class HeadRefused(Exception):  # noqa: N818
    """A request's header asks for what cannot be done; the text says what, for the client."""


class RequestHead(NamedTuple):
    """What a request's headers say: the lines that go on to a replica, and what is written anew there.

    `length` of the body is None where it was not stated; `timeout` is what the client allows, in seconds; `key` is the
    value of the sticky header, if there is one.
    """

    lines: bytes
    length: int | None
    request_id: bytes
    timeout: float | None
    key: bytes | None


def request_head(headers: Collection[Header], sticky: bytes = b"") -> RequestHead:
    """Names must be in lower case, as ASGI has them. Raises `HeadRefused`."""
    lines = b""
    length = offered = timeout = None
    key = next((value for name, value in headers if name == sticky and value), None) if sticky else None
    for name, value in headers:
        if name not in REQUEST_STOPS:
            lines += b"%b: %b\r\n" % (name, value)
        elif name == b"content-length":
            length = int(value)
        elif name == b"x-request-id":
            offered = value
        elif name == b"connection" and value.lower() not in PLAIN_CONNECTION:
            return request_head(end_to_end(headers), sticky)
        elif name == TIMEOUT:
            timeout = seconds(value)
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise HeadRefused("Of transfer encodings only chunked is understood here.")
    return RequestHead(lines, length, request_id(offered), timeout, key)


def seconds(value: bytes) -> float:
    """Of a header `X-Request-Timeout`. Raises `HeadRefused`."""
    if not _SECONDS.fullmatch(value) or not float(value):
        raise HeadRefused("X-Request-Timeout must be a positive number of seconds, such as 2.5.")
    return float(value)


def end_to_end(headers: Collection[Header]) -> list[Header]:
    """Without `Connection`, and without the headers that it declares to be for this hop only."""
    names = {b"connection"}
    for name, value in headers:
        if name == b"connection":
            names.update(token.strip().lower() for token in value.split(b","))
    return [header for header in headers if header[0] not in names]
