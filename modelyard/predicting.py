"""Predicting: ask a deployed model, and again while it cannot answer yet, within one deadline."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from modelyard.errors import ModelyardError, NotReady
from modelyard.transport import Repeat, Transport, pause
from modelyard.waiting import Deadline

ANSWER_TIMEOUT = 75.0  # seconds; the gateway's own deadline is 60, and its answer says more than ours
READY_PATIENCE = 10.0  # seconds; longer than a replica takes to come back, shorter than a person's patience


def predict(
    transport: Transport,
    path: str,
    body: object,
    *,
    repeat: Repeat,
    timeout: float | None,
    on_repeat: Callable[[ModelyardError], None] | None,
) -> Any:
    """The model's answer, within `timeout` seconds, repeats included.

    Without a timeout, ANSWER_TIMEOUT, of which the first READY_PATIENCE may go into waiting for a ready replica.
    """
    whole = Deadline(ANSWER_TIMEOUT if timeout is None else timeout)
    patience = Deadline(READY_PATIENCE if timeout is None else timeout)
    for attempt in count():
        try:
            return transport.json("POST", path, body=body, repeat=repeat, deadline=whole, on_repeat=on_repeat)
        except NotReady as error:
            rest = max(pause(attempt), error.retry_after or 0.0)
            if error.retryable is False or rest >= patience.remaining:
                raise
            if on_repeat:
                on_repeat(error)
            transport.sleep(rest)
    raise AssertionError("unreachable: the loop ends by answer or by error")
