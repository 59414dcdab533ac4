"""One server's replicas: started, probed, restarted with back-off, scaled and drained; one step at each look."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

from app.core.specs import ServerSpec
from app.runtimes.base import ReplicaObservation, ServerObservation
from app.runtimes.local.attempt import Attempt, Slot
from app.runtimes.local.gpus import Pool
from app.runtimes.local.launcher import Launcher
from app.runtimes.local.probe import Prober
from app.runtimes.local.replica import Replica
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
        spec = _spec(wish)
        wanted = 0 if wish.deleted else spec.replicas
        for index in sorted({*range(wanted), *self._on_disk()} - set(self._replicas)):
            self._replicas[index] = self._replica(index, spec)
        for index, replica in self._replicas.items():
            replica.going = index >= wanted
            replica.look()

    def _on_disk(self) -> Iterator[int]:
        folder = self._wishes.folder(self._key) / "replicas"
        return (int(name) for name in os.listdir(folder) if name.isdigit()) if folder.exists() else iter(())  # noqa: PTH208

    def _replica(self, index: int, spec: ServerSpec) -> Replica:
        name = f"{self._key.name}-{index}"
        slot: Slot = self._wishes.slot(self._key, index)
        # Model servers need MLflow before they are ready, so the platform's own servers wait for none of them.
        turns = None if PLATFORM_LABEL in spec.labels else self._turns
        return Replica(name, slot, spec, self._settings, self._launcher, turns, self._before.pop(name, None))

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
        seen: list[ReplicaObservation] = []
        for index, replica in sorted(self._replicas.items()):
            one = replica.step(pool, order)
            if one is not None:
                seen.append(one)
            else:
                del self._replicas[index]
        spec = _spec(wish)
        wanted = 0 if wish.deleted else spec.replicas
        return ServerObservation(self._key.name, spec.uid, wanted, tuple(seen), notes_of(spec))


def _spec(wish: Wish) -> ServerSpec:
    if not isinstance(wish.spec, ServerSpec):
        raise TypeError(f"{wish.spec.name} is not a server.")
    return wish.spec
