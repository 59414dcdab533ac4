"""Leases: which gateway's controllers act.

No clock is compared across machines: a holder raises the lease's beat, and another takes it only after it has seen the
same beat for the lease's whole time on its own monotonic clock. A wall clock that jumps changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from app.store.database import Database, whole
from app.store.tables import leases


class Lease:
    """One lease, as one candidate sees it. Call `hold` several times within `seconds`."""

    def __init__(
        self, database: Database, name: str, holder: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._name = name
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0
        self._renewed_at: float | None = None

    def is_held(self) -> bool:
        """Whether we may act now. False before others may think us dead: after two thirds of the lease's time."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < self._seconds * 2 / 3

    @whole
    async def hold(self) -> bool:
        """Renew the lease, or take it if it is free or its holder is silent. Returns `is_held()`."""
        asked_at = self._clock()
        if await self._renew() or await self._take():
            self._renewed_at = asked_at
        else:
            self._renewed_at = None
        return self.is_held()

    @whole
    async def release(self) -> None:
        """Let it go, so that the next gateway need not wait. Harmless if it is not ours."""
        self._renewed_at = None
        async with self._database.begin() as connection:
            await connection.execute(
                sa.delete(leases).where(leases.c.name == self._name, leases.c.holder == self._holder)
            )

    async def _renew(self) -> bool:
        async with self._database.begin() as connection:
            done = await connection.execute(
                sa.update(leases)
                .where(leases.c.name == self._name, leases.c.holder == self._holder)
                .values(beat=leases.c.beat + 1)
            )
        return done.rowcount == 1

    async def _take(self) -> bool:
        async with self._database.begin() as connection:
            row = (await connection.execute(sa.select(leases).where(leases.c.name == self._name))).one_or_none()
        if row is None:
            return await self._create()
        if (row.holder, row.beat) != self._seen:
            self._seen, self._seen_at = (row.holder, row.beat), self._clock()
        if self._clock() - self._seen_at < self._seconds:
            return False
        return await self._replace(row.holder, row.beat)

    async def _create(self) -> bool:
        try:
            async with self._database.begin() as connection:
                await connection.execute(sa.insert(leases).values(name=self._name, holder=self._holder, beat=0))
        except IntegrityError:
            return False
        return True

    async def _replace(self, holder: str, beat: int) -> bool:
        async with self._database.begin() as connection:
            done = await connection.execute(
                sa.update(leases)
                .where(leases.c.name == self._name, leases.c.holder == holder, leases.c.beat == beat)
                .values(holder=self._holder, beat=beat + 1)
            )
        return done.rowcount == 1
