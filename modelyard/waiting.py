"""Waiting: ask until it is so, patiently through a restart of the gateway, but not past a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from modelyard.errors import TimedOut, Unavailable

State = TypeVar("State")

FIRST_PERIOD, LONGEST_PERIOD = 0.1, 1.0  # seconds between two questions, growing by half


class Deadline:
    """A moment on the monotonic clock, `seconds` from now; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self._at = float("inf") if seconds is None else time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left; negative when it is over."""
        return self._at - time.monotonic()


def wait_until(
    ask: Callable[[float], State],
    done: Callable[[State], bool],
    *,
    timeout: float | None,
    patience: float,
    late: Callable[[State | None], str],
    on_progress: Callable[[State], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    slowest: float = LONGEST_PERIOD,
) -> State:
    """The first state that is `done`. `ask` is given the seconds left, and may find no answer for `patience`
    seconds in a row. Past `timeout` seconds raises `TimedOut`, with the sentence that `late` makes of the last state.
    """
    deadline, outage, period = Deadline(timeout), Deadline(patience), FIRST_PERIOD
    state: State | None = None
    while True:
        try:
            state = ask(deadline.remaining)
        except (Unavailable, TimedOut):
            if outage.remaining < 0:
                raise
        else:
            outage = Deadline(patience)
            if on_progress:
                on_progress(state)
            if done(state):
                return state
        if deadline.remaining <= 0:
            raise TimedOut(late(state), code="wait-timed-out")
        sleep(max(0.0, min(period, deadline.remaining)))
        period = min(slowest, period * 1.5)
