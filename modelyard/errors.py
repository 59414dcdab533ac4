"""Errors: the one family that every call of the SDK raises, and how answers and broken connections become it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

UNREACHABLE = "unreachable"  # no connection: nothing was sent
CONNECTION_BROKEN = "connection-broken"  # whether the request arrived is not known


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with a request: a JSON pointer (RFC 6901) into its body, and a sentence."""

    pointer: str
    detail: str


class ModelyardError(Exception):
    """What went wrong, in one sentence: `detail`, which is also the text of the exception.

    `code` is the API's stable word for it. `status` (HTTP), `request_id` (quote it when you ask for help) and `causes`
    are there when a gateway answered. `retry_after`, in seconds, is how long it asked to be left alone; `retryable` is
    whether it said that the very same request may succeed later (None: it did not say).
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str = "error",
        status: int | None = None,
        request_id: str | None = None,
        causes: Sequence[Cause] = (),
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id
        self.causes = tuple(causes)
        self.retry_after = retry_after
        self.retryable = retryable


class NotFound(ModelyardError):  # noqa: N818 - the family's name says that these are errors
    """There is no job or deployment of that name, or no prediction of that id any more."""


class Conflict(ModelyardError):  # noqa: N818
    """The name is taken by something else, or what it names is being deleted."""


class Invalid(ModelyardError):  # noqa: N818
    """The request cannot be met as it stands; `causes` point at what to change."""


class NotReady(ModelyardError):  # noqa: N818
    """The deployment exists and cannot answer yet."""


class Unavailable(ModelyardError):  # noqa: N818
    """The gateway, or a neighbour it needs, does not answer; the same call may succeed later."""


class TimedOut(ModelyardError):  # noqa: N818
    """No answer, or not the awaited state, in the time given."""


_BY_STATUS: Mapping[int, type[ModelyardError]] = {
    400: Invalid,
    404: NotFound,
    408: TimedOut,
    409: Conflict,
    410: NotFound,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: TimedOut,
}
_BY_CODE: Mapping[str, type[ModelyardError]] = {"deployment-not-ready": NotReady}


def error_from(response: httpx2.Response, retry_after: float | None) -> ModelyardError:
    """The error that an answer stands for; the body may be problem+json, or whatever a proxy on the way says."""
    problem = _problem(response)
    code = str(problem.get("code") or f"http-{response.status_code}")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(response.status_code, ModelyardError)
    path = response.request.url.path
    detail = problem.get("detail") or problem.get("title")
    return kind(
        str(detail or f"{response.request.method} {path} was answered with {_status_line(response)}."),
        code=code,
        status=response.status_code,
        request_id=problem.get("requestId") or response.headers.get("x-request-id"),
        causes=_causes(problem.get("causes")),
        retry_after=retry_after,
        retryable=said if isinstance(said := problem.get("retryable"), bool) else None,
    )


def _problem(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _status_line(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _causes(content: object) -> list[Cause]:
    listed = content if isinstance(content, list) else []
    return [Cause(str(c.get("pointer", "")), str(c.get("detail", ""))) for c in listed if isinstance(c, dict)]


@contextmanager
def translated(url: str, timeout: float) -> Iterator[None]:
    """Errors of the HTTP library, raised inside, leave as errors of this family. `url` must hold no password."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        detail = f"No gateway answers at {url} ({error}). Start one with `yard up`, or name another in MODELYARD_URL."
        raise Unavailable(detail, code=UNREACHABLE) from error
    except httpx2.TimeoutException as error:
        raise TimedOut(f"{url} did not answer within {timeout:g} seconds.", code="no-answer") from error
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise Invalid(f"{url!r} is not the address of a gateway: {error}", code="bad-url") from error
    except httpx2.SSEError as error:
        raise ModelyardError(f"{url} does not send events: {error}", code="no-events") from error
    except httpx2.TransportError as error:
        raise Unavailable(f"The connection to {url} broke: {error}", code=CONNECTION_BROKEN) from error
