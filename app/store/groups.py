"""Group commit: writes that wait together share one transaction. A disk takes as long for one row as for a hundred."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import exc

from app.core.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class Group(Generic[Item, Result]):
    """`write` keeps all items or none, and answers with one result for each, in their order.

    A caller is answered after the commit that holds its item, and never before. An item that the database refuses
    fails alone: the others of its group are written without it. Call it from what runs to its end (`whole`), as the
    first of a group writes for all.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._turn = asyncio.Lock()

    async def __call__(self, item: Item) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if len(self._waiting) == 1:
            async with self._turn:
                await asyncio.sleep(0)  # who comes until then, or while the group before is written, joins
                group, self._waiting = self._waiting, []
                await self._settle(group)
        return await answer

    async def _settle(self, group: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        [outcome] = await asyncio.gather(self._write([item for item, _ in group]), return_exceptions=True)
        if not isinstance(outcome, BaseException):
            for (_, answer), result in zip(group, outcome, strict=True):
                answer.set_result(result)
        elif len(group) > 1 and _may_be_one_row(outcome):
            for one in group:
                await self._settle([one])
        else:
            for _, answer in group:
                answer.set_exception(outcome)


def _may_be_one_row(failure: BaseException) -> bool:
    """Not where the database is away: each of a hundred would wait for it in turn."""
    cause = failure.__cause__ if isinstance(failure, StoreUnavailable) else failure
    away = isinstance(cause, exc.OperationalError | exc.InterfaceError | OSError | TimeoutError)
    return isinstance(cause, exc.DBAPIError) and not away and not cause.connection_invalidated
