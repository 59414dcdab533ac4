"""One server's replicas: started, probed, restarted with back-off, scaled, rolled out, drained; a step at each look."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from itertools import count

from app.core.specs import ServerSpec
from app.runtimes.base import ReplicaObservation, ServerObservation
from app.runtimes.local.attempt import Attempt, Slot
from app.runtimes.local.gpus import Pool
from app.runtimes.local.launcher import Launcher
from app.runtimes.local.probe import Prober
from app.runtimes.local.replica import Replica, keep_spec, kept_spec
from app.runtimes.local.rollouts import next_step
from app.runtimes.local.settings import LocalSettings
from app.runtimes.local.turns import Turns
from app.runtimes.local.wishes import PLATFORM_LABEL, Key, Order, Wish, Wishes, notes_of


class ServerKeeper:
    """Brings one server to what is wished."""

    def __init__(self, key: Key, wishes: Wishes, settings: LocalSettings, launcher: Launcher, turns: Turns) -> None:
        self._key, self._wishes, self._settings, self._launcher = key, wishes, settings, launcher
        self._turns = turns
        before = wishes.observed_servers([key.name]).get(key.name)
        self._before = {replica.name: replica for replica in before.replicas} if before else {}
        self._replicas: dict[int, Replica] = {}

    def look(self, wish: Wish) -> None:
        for number in self._wishes.replicas(self._key):
            if number not in self._replicas:
                self._replicas[number] = self._replica(number, _spec(wish))
        for replica in self._replicas.values():
            replica.look()

    def _replica(self, number: int, wished: ServerSpec) -> Replica:
        name = f"{self._key.name}-{number}"
        slot: Slot = self._wishes.slot(self._key, number)
        spec = kept_spec(slot) or wished
        if slot.folder.exists():  # an earlier version of the platform kept no spec with its replicas
            with contextlib.suppress(OSError):
                keep_spec(slot, spec)
        # Model servers need MLflow before they are ready, so the platform's own servers wait for none of them.
        turns = None if PLATFORM_LABEL in spec.labels else self._turns
        return Replica(name, slot, spec, self._settings, self._launcher, turns, self._before.pop(name, None))

    def _arrange(self, wish: Wish, pool: Pool) -> None:
        """Choose who goes and who comes. What goes, goes for good: its place is taken by another."""
        spec = _spec(wish)
        staying = [replica for _, replica in sorted(self._replicas.items()) if not replica.going]
        if wish.deleted:
            starts, going = 0, staying
        else:
            new = [replica for replica in staying if replica.digest == spec.digest]
            old = [replica for replica in staying if replica.digest != spec.digest]
            starts, going = next_step(spec.replicas, old, new, in_place=_must_make_room(spec, new, pool))
        for replica in going:
            replica.going = True
        for _ in range(starts):
            number = next(number for number in count() if number not in self._replicas)
            self._replicas[number] = self._replica(number, spec)

    @property
    def alive(self) -> dict[str, Attempt]:
        return {replica.holder: replica.attempt for replica in self._replicas.values() if replica.attempt.alive}

    @property
    def starting(self) -> list[str]:
        return [replica.holder for replica in self._replicas.values() if replica.starting]

    @property
    def probers(self) -> list[Prober]:
        return [replica.prober for replica in self._replicas.values() if replica.prober]

    @property
    def next_start(self) -> float:
        """Seconds until the first replica's back-off is over; infinite if none is in one."""
        return min((replica.backoff_left for replica in self._replicas.values()), default=math.inf)

    def step(self, wish: Wish, pool: Pool, order: Order) -> ServerObservation:
        if order is Order.GO or wish.deleted:
            self._arrange(wish, pool)
        seen: list[ReplicaObservation] = []
        for index, replica in sorted(self._replicas.items()):
            one = replica.step(pool, order)
            if one is not None:
                seen.append(one)
            else:
                del self._replicas[index]
        spec = _spec(wish)
        wanted = 0 if wish.deleted else spec.replicas
        return ServerObservation(self._key.name, spec.uid, wanted, tuple(seen), notes_of(spec), spec.digest)


def _must_make_room(spec: ServerSpec, new: Sequence[Replica], pool: Pool) -> bool:
    """Whether a new replica would wait for a GPU that an old one holds. One that had a GPU already and failed is no
    reason to end what answers."""
    arriving = [replica for replica in new if not replica.ready]
    return not pool.has(spec.resources.gpus) and not any(replica.tried for replica in arriving)


def _spec(wish: Wish) -> ServerSpec:
    if not isinstance(wish.spec, ServerSpec):
        raise TypeError(f"{wish.spec.name} is not a server.")
    return wish.spec
