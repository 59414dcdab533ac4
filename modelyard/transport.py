"""Transport: one HTTP conversation with a gateway, which repeats what may be repeated and never what may not."""

from __future__ import annotations

import ipaddress
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any, Self
from urllib.parse import quote

import httpx2

from modelyard.errors import (
    CONNECTION_BROKEN,
    UNREACHABLE,
    Invalid,
    ModelyardError,
    NotReady,
    error_from,
    translated,
)
from modelyard.waiting import Deadline

LONGEST_RETRY_AFTER = 30.0  # seconds; a gateway that wants longer gets its error reported instead
SHORTEST_TIMEOUT = 0.01  # seconds; none at all would be an error of its own
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds
PREDICTION_STATUS, DONE = "prediction-status", "Done"  # a header, and what it says of a prediction's result
KEEP_ALIVE_PATIENCE = 45.0  # seconds; the gateway sends something every 15


class Repeat(Enum):
    """When a request may be sent again."""

    NEVER = auto()
    UNTOUCHED = auto()  # if it was certainly not carried out
    ALWAYS = auto()  # it is idempotent


class Transport:
    """Requests below `url`. Thread-safe. `retries` is how often a request is repeated after its first failure.

    `patience`, in seconds, is for those who ask again and again: how long none of it may be answered.
    """

    def __init__(
        self, url: str, *, timeout: float, retries: int, patience: float, sleep: Callable[[float], None]
    ) -> None:
        self.timeout = timeout
        self.patience = patience
        self.sleep = sleep
        self._retries = retries
        base = _base_url(url)
        self.url = str(base.copy_with(username=None, password=None)).rstrip("/")
        self._http = httpx2.Client(base_url=base, timeout=timeout, trust_env=not _is_loopback(base.host))

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        repeat: Repeat = Repeat.ALWAYS,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        on_repeat: Callable[[ModelyardError], None] | None = None,
    ) -> httpx2.Response:
        """The successful answer. Every other answer, and none, raises a ModelyardError, after repeats if allowed.

        But what a prediction came to is an answer whatever its status: the caller looks at that.
        `timeout` is for one answer; `deadline`, which replaces it, for all repeats together. `on_repeat` is told each
        error that is not the last. A deployment that is not ready is for the caller to wait for: see `predicting`.
        """
        content = None if body is None else encoded(body)
        kind = {} if content is None else {"content-type": "application/json"}
        for attempt in range(self._retries + 1):
            seconds = max(deadline.remaining, SHORTEST_TIMEOUT) if deadline else timeout or self.timeout
            try:
                return self._send(method, path, params, content, {**kind, **(headers or {})}, seconds)
            except ModelyardError as error:
                rest = max(pause(attempt), error.retry_after or 0.0)
                is_late = deadline is not None and rest >= deadline.remaining
                if attempt == self._retries or is_late or not _may_repeat(error, repeat):
                    raise
                if on_repeat:
                    on_repeat(error)
                self.sleep(rest)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def get(self, path: str, **options: Any) -> dict[str, Any]:
        """As `request`; the answer's JSON, an object."""
        content = self.json("GET", path, **options)
        if not isinstance(content, dict):
            raise self._stranger(path)
        return content

    def json(self, method: str, path: str, **options: Any) -> Any:
        """As `request`; the answer's JSON."""
        return self.content(self.request(method, path, **options))

    def content(self, response: httpx2.Response) -> Any:
        """The JSON of an answer; raises the error that it stands for, if it does."""
        if not response.is_success:
            raise error_from(response, _retry_after(response))
        try:
            return response.json()
        except ValueError as error:
            raise self._stranger(response.request.url.path) from error

    @contextmanager
    def events(self, path: str, params: Mapping[str, Any], last_id: str | None) -> Iterator[httpx2.EventSource]:
        """One stream of server-sent events; what breaks it while it is read raises a ModelyardError too."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
        patience = httpx2.Timeout(self.timeout, read=max(self.timeout, KEEP_ALIVE_PATIENCE))
        with (
            translated(self.url, KEEP_ALIVE_PATIENCE),
            self._http.stream("GET", path, params=params, headers=headers, timeout=patience) as response,
        ):
            if not response.is_success:
                response.read()
                raise error_from(response, _retry_after(response))
            yield httpx2.EventSource(response, max_event_size=None)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stranger(self, path: str) -> ModelyardError:
        detail = f"{self.url}{path} answered with something else than this API does. Is it a Modelyard gateway?"
        return ModelyardError(detail, code="not-modelyard")

    def _send(
        self, method: str, path: str, params: Mapping[str, Any] | None, content: bytes | None,
        headers: Mapping[str, str], timeout: float,
    ) -> httpx2.Response:  # fmt: skip
        with translated(self.url, timeout):
            response = self._http.request(
                method, path, params=params, content=content, headers=headers, timeout=timeout
            )
        if not response.is_success and response.headers.get(PREDICTION_STATUS) != DONE:
            raise error_from(response, _retry_after(response))
        return response


def segment(task_id: str) -> str:
    """A task id as one segment of a path."""
    if not task_id.strip(".") or "/" in task_id:
        raise Invalid(f"{task_id!r} is not a task id.", code="bad-task-id")
    return quote(task_id, safe="")


def encoded(body: object) -> bytes:
    """JSON; arrays of NumPy and its kin become lists."""
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"), default=_as_list).encode()
    except (TypeError, ValueError) as error:
        hint = " Send None where a number is missing." if isinstance(error, ValueError) else ""
        raise Invalid(f"The request cannot be written as JSON: {error}.{hint}", code="not-json") from error


def pause(attempt: int) -> float:
    """Seconds before the next attempt: doubling, capped, and up to half of it random so that clients spread out."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10))
    return random.uniform(longest / 2, longest)


def _may_repeat(error: ModelyardError, repeat: Repeat) -> bool:
    if repeat is Repeat.NEVER or (error.retry_after or 0.0) > LONGEST_RETRY_AFTER:
        return False
    if error.status == 503 and (error.retryable is False or isinstance(error, NotReady)):
        return False
    if error.code == UNREACHABLE or error.status in (429, 503):
        return True
    return repeat is Repeat.ALWAYS and (error.code == CONNECTION_BROKEN or error.status in (502, 504))


def _retry_after(response: httpx2.Response) -> float | None:
    """RFC 9110 10.2.3: seconds, or a date."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _as_list(value: object) -> object:
    if callable(to_list := getattr(value, "tolist", None)):
        return to_list()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _base_url(url: str) -> httpx2.URL:
    shown = re.sub(r"//[^/]*@", "//", url)
    with translated(shown, 0):
        base = httpx2.URL(url.rstrip("/"))
    if base.scheme not in ("http", "https") or not base.host:
        raise Invalid(f"{shown!r} is not the address of a gateway: write http://host:port.", code="bad-url")
    return base


def _is_loopback(host: str) -> bool:
    """Whether no proxy can stand between; a company's HTTP_PROXY must not take what is meant for this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
