"""Plain HTTP GETs with patience: what fails for a passing reason is tried again, with back-off, until patience ends."""

from __future__ import annotations

import http.client
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

log = logging.getLogger(__name__)
Consumed = TypeVar("Consumed")

TIMEOUT_SECONDS = 30.0  # to connect, and for every wait for bytes
LONGEST_PAUSE_SECONDS = 15.0
CHUNK_BYTES = 1 << 20
JSON_BYTES = 16 << 20
PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Unavailable(Exception):  # noqa: N818
    """The other side did not answer within our patience, or answered what no retry mends; the text says what."""


class Refused(Unavailable):
    """The other side answered with `status`, not with what was asked for."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class _Passing(Exception):  # noqa: N818
    """A failure that a retry may mend."""


class Unwritable(Exception):  # noqa: N818
    """A file could not be written here; the text says which and why."""


class RestClient:
    """GETs below `base` (http or https, no user name in it). Follows no redirects and reads no proxy variables.

    `patience` is in seconds, for each call. `notice` is told in a sentence whenever a call has to be tried again.
    """

    def __init__(self, base: str, patience: float, notice: Callable[[str], None]) -> None:
        self._base = urlsplit(base)
        self._patience = patience
        self._notice = notice

    def json(self, path: str, /, **query: str) -> dict[str, object]:
        """The JSON object at `path`. Raises `Refused`, `Unavailable`."""
        return self._patiently(f"{path}?{urlencode(query)}" if query else path, _json_object)

    def save(self, path: str, target: Path) -> None:
        """Write what is at `path` into `target`, a chunk at a time. Raises `Refused`, `Unavailable`, `Unwritable`."""
        self._patiently(path, lambda response: _copy(response, target))

    def _patiently(self, path: str, consume: Callable[[http.client.HTTPResponse], Consumed]) -> Consumed:
        deadline = time.monotonic() + self._patience
        pauses = _pauses()
        while True:
            try:
                return self._once(path, consume)
            except (OSError, http.client.HTTPException, _Passing) as error:
                sentence = f"{self._base.netloc} does not answer: {error or type(error).__name__}"
                pause = next(pauses)
                if time.monotonic() + pause > deadline:
                    raise Unavailable(f"{sentence}; gave up after {self._patience:.0f} s.") from error
                log.warning("%s; trying again.", sentence)
                self._notice(f"{sentence}; trying again.")
                time.sleep(pause)

    def _once(self, path: str, consume: Callable[[http.client.HTTPResponse], Consumed]) -> Consumed:
        secure = self._base.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self._base.hostname or "", self._base.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", f"{self._base.path.rstrip('/')}{path}", headers={"Accept-Encoding": "identity"})
            response = connection.getresponse()
            if response.status == 200:
                return consume(response)
            raise self._refusal(response)
        finally:
            connection.close()

    def _refusal(self, response: http.client.HTTPResponse) -> Exception:
        answer = f"status {response.status}, {response.read(200).decode('utf-8', 'replace')!r}"
        if response.status in PASSING:
            return _Passing(answer)
        return Refused(response.status, f"{self._base.netloc} refuses: {answer}")


def _json_object(response: http.client.HTTPResponse) -> dict[str, object]:
    try:
        content = json.loads(response.read(JSON_BYTES))
    except ValueError as error:
        raise Unavailable(f"The answer is not JSON ({error}): is this the address of MLflow?") from error
    if not isinstance(content, dict):
        raise Unavailable("The answer is not a JSON object: is this the address of MLflow?")
    return content


def _copy(response: http.client.HTTPResponse, target: Path) -> None:
    try:
        with target.open("wb") as handle:
            for chunk in _chunks(response):
                handle.write(chunk)
    except OSError as error:
        raise Unwritable(f"{target} cannot be written: {error.strerror or error}.") from error


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body; a failure to read it is made a `_Passing`, so that it is not taken for a failure to write it."""
    expected, received = response.length, 0  # the length is None where it was not announced
    try:
        while chunk := response.read(CHUNK_BYTES):
            received += len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"the connection broke ({error or type(error).__name__})") from error
    if expected is not None and received != expected:
        raise _Passing(f"the connection ended after {received} of {expected} bytes")


def _pauses() -> Iterator[float]:
    """Seconds to wait: doubling, with jitter, so that many servers do not knock in step."""
    pause = 0.25
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
