"""Routing in words: where the predictions of a task may go, and how many there are of them."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.addresses import Address

FULL_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Backend:
    """Ready replicas that are interchangeable, as those of one model version are.

    `weight`, 0 to 100, is their share of the task's predictions beside the other backends that have ready replicas;
    0 gets none, whatever becomes of the others. `name` tells the task's backends apart and stays the same for as long
    as they are the same.
    """

    addresses: tuple[Address, ...]
    name: str = ""
    weight: int = FULL_WEIGHT


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """Where the predictions of one task go. Without a ready replica they are held if `expected`: one is to be ready
    shortly, as far as is known in `expected_in` seconds, which are told to those that are too many to be held. Where a
    start is known to take long they are held for `hold_seconds`, if the settings say less.

    With `sticky_header` (lower case; empty: none) those that carry the same value of this header go to the same
    replica for as long as it is ready.
    """

    backends: tuple[Backend, ...] = ()
    sticky_header: str = ""
    expected: bool = False
    expected_in: float = 1
    hold_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What one gateway has seen of a task's predictions, at the moment `at` (monotonic seconds).

    All but `in_flight` and `held` only grow while the task has a route, and begin at 0 with it. `request_seconds` is
    the integral of `concurrency` over time: the average concurrency between two readings is the difference of their
    `request_seconds` divided by that of their `at`, exactly and however short the bursts were.
    """

    at: float
    in_flight: int  # given to a replica, not yet answered
    held: int  # waiting for a replica that is ready
    arrivals: int  # all that came, those held and refused too
    refused: int  # at once, because they could not have been answered in time
    request_seconds: float

    @property
    def concurrency(self) -> int:
        """How many predictions wait for their answer now."""
        return self.in_flight + self.held
