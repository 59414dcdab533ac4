"""One loop for every controller: a round at each nudge and each period, whatever the last round came to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import structlog

from app.core.errors import Outage
from app.core.nudge import Nudge

log = structlog.get_logger(__name__)

_BACK_OFF_LIMIT = 30.0
_BREATH = 0.05  # seconds between two rounds, in which nudges gather: a thousand submits are not a thousand rounds
Item = TypeVar("Item")


async def for_each(items: Iterable[Item], act: Callable[[Item], Awaitable[None]], at_once: int = 1) -> None:
    """Act on every item, begun in their order, so many at once. One that fails keeps no other from its turn; then the
    first failure is raised."""
    waiting, failures = iter(items), []

    async def worker() -> None:
        for item in waiting:
            [outcome] = await asyncio.gather(act(item), return_exceptions=True)
            if isinstance(outcome, BaseException):
                failures.append(outcome)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    if failures:
        raise failures[0]


class Loop:
    """Runs `round_` while `may_act()`. After failures the pause doubles, up to half a minute; a nudge cuts it short."""

    def __init__(
        self,
        name: str,
        round_: Callable[[], Awaitable[None]],
        period_seconds: float,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.nudge = Nudge()
        self._round = round_
        self._period = period_seconds
        self._may_act = may_act

    async def run(self) -> None:
        """Never returns; ends by cancellation."""
        failures = 0
        while True:
            if self._may_act():
                failures = 0 if await self._try() else failures + 1
            await asyncio.sleep(min(_BREATH, self._period))
            await self.nudge.wait(min(self._period * 2**failures, _BACK_OFF_LIMIT))

    async def _try(self) -> bool:
        try:
            await self._round()
        except asyncio.CancelledError:
            raise
        except Outage as outage:
            log.warning("round_failed", loop=self.name, code=outage.code, cause=str(outage))
            return False
        except Exception:  # a loop must outlive every surprise
            log.exception("round_failed", loop=self.name)
            return False
        return True
