"""Which replica answers: shares of backends by weight, then the least busy one, or the one that a key belongs to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import cycle
from math import gcd, log

from app.core.addresses import Address
from app.core.routing import Backend
from app.proxy.replicas import Replica


class Pool:
    """The replicas of one backend."""

    __slots__ = ("name", "replicas", "weight")

    def __init__(self, backend: Backend, known: Mapping[Address, Replica]) -> None:
        self.name = backend.name.encode()
        self.weight = backend.weight
        self.replicas = [known[address] for address in dict.fromkeys(backend.addresses)]

    def least_busy(self, tried: Collection[Replica] = ()) -> Replica | None:
        """One that was not tried; among equals the one whose turn is longest past."""
        choice: Replica | None = None
        for replica in self.replicas:
            if (choice is None or replica.busy < choice.busy) and replica not in tried:
                choice = replica
                if not replica.busy:
                    break
        if choice is not None and len(self.replicas) > 1:
            self.replicas.remove(choice)
            self.replicas.append(choice)
        return choice

    def home(self, key: bytes, tried: Collection[Replica] = ()) -> Replica | None:
        """Where this key belongs among those not tried.

        By rendezvous hashing, so every gateway says the same, and a replica that goes moves no keys but its own.
        """
        fit = (replica for replica in self.replicas if replica not in tried)
        return max(fit, key=lambda replica: _hash(key, replica.seed), default=None)


class Choice:
    """Among pools with replicas; `known` holds every address that the backends name.

    Weights are exact over every window as long as their sum, divided by their greatest common divisor.
    """

    __slots__ = ("_pools", "_turns", "size")

    def __init__(self, backends: Sequence[Backend], known: Mapping[Address, Replica]) -> None:
        self._pools = [Pool(backend, known) for backend in backends if backend.addresses and backend.weight]
        self.size = sum(len(pool.replicas) for pool in self._pools)
        self._turns = cycle(turns([pool.weight for pool in self._pools]))

    def first(self, key: bytes | None) -> Replica | None:
        """For a new request, which takes its backend's turn; with a key the one where it belongs."""
        pools = self._pools
        if key is not None:
            return self._pool_of(key).home(key) if pools else None
        if len(pools) == 1:
            return pools[0].least_busy()
        return pools[next(self._turns)].least_busy() if pools else None

    def another(self, key: bytes | None, tried: Sequence[Replica]) -> Replica | None:
        """For a request that these replicas did not take: if possible from the same backend."""
        for pool in sorted(self._pools, key=lambda pool: tried[0] not in pool.replicas):
            choice = pool.least_busy(tried) if key is None else pool.home(key, tried)
            if choice is not None:
                return choice
        return None

    def _pool_of(self, key: bytes) -> Pool:
        """By weighted rendezvous: a change of weights moves no more keys than it must."""
        if len(self._pools) == 1:
            return self._pools[0]
        return min(self._pools, key=lambda pool: -log(_fraction(key, pool.name)) / pool.weight)


def turns(weights: Sequence[int]) -> Iterator[int]:
    """Indices, each as often as its positive weight (in lowest terms) says, and spread evenly (as nginx does it)."""
    total = sum(weights)
    credits = [0] * len(weights)
    for _ in range(total // gcd(*weights)):
        credits = [credit + weight for credit, weight in zip(credits, weights, strict=True)]
        chosen = max(range(len(weights)), key=credits.__getitem__)
        credits[chosen] -= total
        yield chosen


def _hash(key: bytes, seed: bytes) -> bytes:
    return blake2b(b"%b\0%b" % (seed, key), digest_size=8).digest()


def _fraction(key: bytes, seed: bytes) -> float:
    """Above 0, at most 1."""
    return (int.from_bytes(_hash(key, seed)) + 1) / (1 << 64)
