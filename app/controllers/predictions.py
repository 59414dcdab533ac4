"""The controller of predictions: says that this gateway lives, takes over from gateways that died, and cleans up.

It runs on every gateway. As with leases, no clock is compared across machines: a holder is dead when its beat has not
changed for the lease's whole time on our own monotonic clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from app.core.errors import Outage
from app.core.predictions import Claim
from app.store.leases import Lease
from app.store.predictions import PredictionStore

log = structlog.get_logger(__name__)

BATCH = 100  # predictions that are taken over, or cleaned up, at once
Beat = int | None


class Carries(Protocol):
    """Who carries predictions out on this gateway."""

    holder: str

    def __len__(self) -> int: ...

    def carry(self, claim: Claim) -> None: ...

    async def close(self) -> None: ...


class PredictionController:
    def __init__(
        self,
        store: PredictionStore,
        lease: Lease,
        carrier: Carries,
        patience_seconds: float,
        on_taken: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lease = lease
        self._carrier = carrier
        self._patience = patience_seconds
        self._on_taken = on_taken
        self._clock = clock
        self._beats = False
        self._seen: dict[str, tuple[Beat, float]] = {}  # of others: their beats, and since when these are so

    async def start(self) -> None:
        """Nothing to do: `round` is a loop's."""

    async def close(self) -> None:
        """Leave what is unfinished to other gateways, which need not wait until they think us dead."""
        await self._carrier.close()
        with contextlib.suppress(Outage):  # then they wait
            await self._lease.release()

    async def round(self) -> None:
        """One look at who holds what."""
        await self._beat()
        holders = dict(await self._store.holders())
        held, _ = holders.pop(self._carrier.holder, (0, None))
        if held > len(self._carrier):
            await self._resume()
        for holder in self._dead({holder: beat for holder, (_, beat) in holders.items()}):
            await self._take_over(holder)

    async def clean(self) -> None:
        """Drop what has expired, in small batches."""
        while await self._store.clean(datetime.now(UTC), BATCH) >= BATCH:
            log.info("predictions_cleaned", batch=BATCH)

    async def _beat(self) -> None:
        """Who holds nothing need not say that it lives."""
        if len(self._carrier):
            self._beats = True
            await self._lease.hold()
        elif self._beats:
            await self._lease.release()
            self._beats = False

    async def _resume(self) -> None:
        """Go on with what is ours in the store alone: its submit was kept, and broke off before it was carried."""
        for claim in await self._store.held(self._carrier.holder):
            self._carrier.carry(claim)

    def _dead(self, beats: dict[str | None, Beat]) -> list[str | None]:
        """Those whose beat stands still, and nobody (None), which is what one leaves that goes in order."""
        now = self._clock()
        living = {holder: beat for holder, beat in beats.items() if holder is not None}
        known = {holder: self._seen.get(holder, (beat, now)) for holder, beat in living.items()}
        self._seen = {one: known[one] if known[one][0] == beat else (beat, now) for one, beat in living.items()}
        silent: list[str | None] = [one for one, (_, since) in self._seen.items() if now - since >= self._patience]
        return [None, *silent] if None in beats else silent

    async def _take_over(self, holder: str | None) -> None:
        while taken := await self._store.take(holder, self._carrier.holder, BATCH):
            for claim in taken:
                self._carrier.carry(claim)
            self._on_taken(len(taken))
            log.info("predictions_taken_over", count=len(taken), holder=holder)
        if holder is not None:
            await self._store.bury(holder)
            del self._seen[holder]  # if it thaws it begins to beat anew
