"""What each gateway has of the load, told to the one whose controllers act.

No clock is compared across machines: a gateway raises its beat with each report, and the reader counts a report whose
beat stands still for `SILENT_SECONDS` on its own monotonic clock for nothing. Who has no load has no row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from app.store.database import Database, whole
from app.store.tables import loads

SILENT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Predictions in flight or held, averaged over the stable and the panic window; `busy`: there are some just now,
    or were a second ago. Demands of several gateways add up."""

    stable: float = 0.0
    panic: float = 0.0
    busy: bool = False

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.stable + other.stable, self.panic + other.panic, self.busy or other.busy)


class LoadStore:
    """The reports, as one gateway writes and reads them."""

    def __init__(self, database: Database, gateway: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._gateway = gateway
        self._clock = clock
        self._beats: dict[str, tuple[int, float]] = {}  # each gateway's last one, and when it was first seen

    @whole
    async def report(self, demands: Mapping[str, Demand]) -> None:
        """Replace what this gateway has told before, by task id."""
        tasks = {task: [one.stable, one.panic, one.busy] for task, one in demands.items()}
        mine = loads.c.gateway == self._gateway
        async with self._database.begin() as connection:
            if not tasks:
                await connection.execute(sa.delete(loads).where(mine))
                return
            told = sa.update(loads).where(mine).values(tasks=tasks, beat=loads.c.beat + 1)
            if (await connection.execute(told)).rowcount == 0:
                await connection.execute(sa.insert(loads).values(gateway=self._gateway, tasks=tasks, beat=0))

    @whole
    async def of_others(self) -> Mapping[str, Demand]:
        """What the other gateways have, by task id. Forgets those that have fallen silent."""
        async with self._database.begin() as connection:
            rows = (await connection.execute(sa.select(loads).where(loads.c.gateway != self._gateway))).all()
        silent = [row.gateway for row in rows if self._is_silent(row.gateway, row.beat)]
        for gateway in (self._beats.keys() - {row.gateway for row in rows}) | set(silent):
            self._beats.pop(gateway, None)
        if silent:
            async with self._database.begin() as connection:
                await connection.execute(sa.delete(loads).where(loads.c.gateway.in_(silent)))
        found: dict[str, Demand] = {}
        for row in rows:
            for task, told in row.tasks.items() if row.gateway not in silent else ():
                found[task] = found.get(task, Demand()) + Demand(*told)
        return found

    def _is_silent(self, gateway: str, beat: int) -> bool:
        before = self._beats.get(gateway)
        if before is None or before[0] != beat:
            self._beats[gateway] = before = (beat, self._clock())
        return self._clock() - before[1] >= SILENT_SECONDS
