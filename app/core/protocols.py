"""Protocols of the model servers: which of their paths the gateway carries, and how each of them writes errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_MODEL = rf"/v2/models/{_NAME}(/versions/{_NAME})?"
_CARRIED: Mapping[str, re.Pattern[str]] = {
    "GET": re.compile(
        rf"/v2(/health/(live|ready))?|{_MODEL}(/ready)?|/v1/models(/{_NAME})?|/ping|/version|/openai/v1/models(/{_NAME})?"
    ),
    "POST": re.compile(rf"{_MODEL}/infer|/v1/models/{_NAME}:predict|/invocations|/openai/v1/(chat/)?completions"),
}
_PATH = re.compile(r"(?:/api/v1)?/inference/(?!deployments/)([^/]+)(/.+)")
_DIALECT = re.compile(r"/(v1|v2|invocations|ping|version|openai/v1)(?:/.*)?")


class Target(NamedTuple):
    """What a model server is asked: the method, and the path with its query."""

    method: bytes
    path: bytes


PREDICT = Target(b"POST", b"/predict")


class Carried(NamedTuple):
    """A request that the gateway carries to a replica of this task."""

    task_id: str
    target: Target

    def with_query(self, query: bytes) -> Target:
        method, path = self.target
        return Target(method, b"%b?%b" % (path, query)) if query else self.target


@lru_cache(maxsize=4096)
def carried(method: str, path: str) -> Carried | None:
    """Where a request to this path goes; None if it is none of a model server's protocols, or its own affair."""
    found = _PATH.fullmatch(path)
    if found is None or method not in _CARRIED or not _CARRIED[method].fullmatch(found[2]):
        return None
    return Carried(found[1], Target(method.encode(), found[2].encode()))


def error_body(path: str, status: int, code: str, detail: str) -> bytes | None:
    """An error of the gateway in the JSON of the protocol that this path belongs to; None if it belongs to none."""
    found = _PATH.fullmatch(path)
    dialect = _DIALECT.fullmatch(found[2]) if found else None
    return None if dialect is None else json.dumps(_DIALECTS[dialect[1]](status, code, detail)).encode()


def _plain(status: int, code: str, detail: str) -> dict[str, object]:
    return {"error": detail}


def _mlflow(status: int, code: str, detail: str) -> dict[str, object]:
    known = {404: "RESOURCE_DOES_NOT_EXIST", 503: "TEMPORARILY_UNAVAILABLE"}
    word = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"
    return {"error_code": known.get(status, word), "message": detail}


def _openai(status: int, code: str, detail: str) -> dict[str, object]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": detail, "type": kind, "param": None, "code": code.replace("-", "_")}}


_DIALECTS: Mapping[str, Callable[[int, str, str], dict[str, object]]] = {
    "v1": _plain,
    "v2": _plain,
    "invocations": _mlflow,
    "ping": _mlflow,
    "version": _mlflow,
    "openai/v1": _openai,
}
