"""The next step of a rollout: which replicas of a server start, and which go; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar


class Counted(Protocol):
    """What a step asks of a replica."""

    @property
    def ready(self) -> bool: ...


R = TypeVar("R", bound=Counted)


class Step(NamedTuple, Generic[R]):
    starts: int
    going: list[R]


def next_step(wanted: int, old: Sequence[R], new: Sequence[R], *, in_place: bool) -> Step[R]:
    """One step from `old` replicas towards `wanted` new ones; those on their way out are in neither.

    One more than wanted may be there, and none may be missing; `in_place`, none more, and one may be missing. So at
    most one new replica is on its way at a time, and while it is not ready nothing that answers goes.
    """
    most, least = (wanted, wanted - 1) if in_place else (wanted + 1, wanted)
    surplus = list(new[wanted:])
    kept = new[:wanted]
    if not old:
        return Step(wanted - len(kept), surplus)
    total = len(old) + len(kept)
    starts = max(0, min(wanted - len(kept), most - total))
    room = total - least - sum(not one.ready for one in kept)
    broken = [one for one in old if not one.ready][: max(0, room)]
    spare = sum(one.ready for one in (*old, *kept)) - least
    spent = [one for one in old if one.ready][: max(0, min(spare, room - len(broken)))]
    return Step(starts, [*surplus, *broken, *spent])
