"""Answers: whether a server, asked many different things at once, gives each its own right answer."""

from __future__ import annotations

import http.client
import json
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-3  # relative; the same weights in another runtime
SMALLEST = 1e-4


@dataclass(frozen=True)
class Question:
    body: bytes
    wants: list[Any]


def same(got: Any, want: Any) -> bool:
    """Whether two answers are one, numbers within the tolerance."""
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(same, got, want))
    return math.isclose(got, want, rel_tol=TOLERANCE, abs_tol=SMALLEST)


def ask(port: int, path: str, question: Question, predictions: Callable[[Any], list[Any]]) -> bool:
    """Whether one request is answered right. Raises OSError or HTTPException while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return _right(connection, path, question, predictions)
    finally:
        connection.close()


def wrong_among(
    port: int, path: str, questions: Sequence[Question], connections: int, predictions: Callable[[Any], list[Any]]
) -> int:
    """How many of these questions, asked over so many connections at once, are not answered right."""
    kept = threading.local()

    def wrong(question: Question) -> bool:
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            return not _right(kept.connection, path, question, predictions)
        except (OSError, http.client.HTTPException):
            kept.connection.close()
            return True

    with ThreadPoolExecutor(connections) as threads:
        return sum(threads.map(wrong, questions))


def _right(
    connection: http.client.HTTPConnection, path: str, question: Question, predictions: Callable[[Any], list[Any]]
) -> bool:
    connection.request("POST", path, question.body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    return response.status == 200 and same(predictions(json.loads(content)), question.wants)
