"""Leadership: one gateway's controllers act; the others stand by and only proxy."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from app.store.leases import Lease

log = structlog.get_logger(__name__)


class Leadership:
    """Keeps the lease. `on_gain` is called when it becomes ours, so that the loops begin at once."""

    def __init__(self, lease: Lease, on_gain: Callable[[], None]) -> None:
        self._lease = lease
        self._on_gain = on_gain
        self._was_held = False

    def is_ours(self) -> bool:
        return self._lease.is_held()

    async def round(self) -> None:
        held = await self._lease.hold()
        if held is not self._was_held:
            log.info("leadership_gained" if held else "leadership_lost")
            if held:
                self._on_gain()
        self._was_held = held

    async def resign(self) -> None:
        await self._lease.release()
