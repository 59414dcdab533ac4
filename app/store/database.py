"""The database's connection: engine, pragmas, migrations, and the translation of its errors."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from app.core.errors import ConfigurationError, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_WAL_TRIES = 100  # of 50 ms each
HEAD = "0004"  # the newest revision in `migrations/versions`; known here so that a current database costs no Alembic


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class HasDatabase(Protocol):
    _database: Database


Store = TypeVar("Store", bound=HasDatabase)


def whole(
    method: Callable[Concatenate[Store, Parameters], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Store, Parameters], Coroutine[Any, Any, Result]]:
    """A store's method that runs to its end even when its caller is cancelled (a client that leaves, a loop that ends).

    A connection whose task is cancelled in the middle of a statement is never given back, and on SQLite it keeps the
    only write lock.
    """

    @functools.wraps(method)
    async def to_its_end(self: Store, *args: Parameters.args, **named: Parameters.kwargs) -> Result:
        return await self._database.finish(method(self, *args, **named))

    return to_its_end  # type: ignore[return-value]  # mypy takes functools' wrapper for no function


class Database:
    """One database for all stores. `begin()` is a transaction; its errors come out as `StoreUnavailable`."""

    def __init__(self, url: str) -> None:
        try:
            self._engine: AsyncEngine = create_async_engine(url, pool_pre_ping=not url.startswith("sqlite"))
        except (exc.ArgumentError, ModuleNotFoundError) as error:
            raise ConfigurationError(f"MLOPS_STORE__URL is not usable: {type(error).__name__}.") from None
        self._unfinished: set[asyncio.Task[Any]] = set()
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _set_pragmas)
            event.listen(self._engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with self._engine.begin() as connection:
                yield connection

    def insert(self, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
        """An INSERT in the database's own words, which can leave alone what is there."""
        if self._engine.dialect.name == "sqlite":
            return sqlite.insert(table)
        return postgresql.insert(table)

    async def finish(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Wait for `work`, which goes on if we are cancelled; see `whole`."""
        task = asyncio.create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return await asyncio.shield(task)

    async def migrate(self) -> None:
        """Bring the database to the newest revision; harmless when repeated, and when two gateways do it at once."""
        if await self._revision() == HEAD:
            return
        async with self.begin() as connection:
            await connection.run_sync(_lock)
            await connection.run_sync(_upgrade)

    async def _revision(self) -> str | None:
        async with self.begin() as connection:
            if not await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version")):
                return None
            return (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalar()

    async def check(self) -> None:
        """Raise `StoreUnavailable` if the database does not answer within 5 s."""
        try:
            async with asyncio.timeout(5):
                await self.finish(self._ask())
        except TimeoutError as error:
            raise StoreUnavailable("no answer within 5 s") from error

    async def _ask(self) -> None:
        async with self.begin() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def close(self) -> None:
        """Wait for what has begun, then let go of all connections."""
        await asyncio.gather(*self._unfinished, return_exceptions=True)
        await self._engine.dispose()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """The database's failures as `StoreUnavailable`. Violated constraints pass: they are answers, not failures."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
        cause = error.orig if isinstance(error, exc.DBAPIError) else error
        raise StoreUnavailable(f"{type(cause).__name__}: {cause}") from error


def _set_pragmas(connection: Any, _: Any) -> None:
    """WAL, so that readers never wait for a writer; FULL, so that an accepted request survives a power cut."""
    connection.isolation_level = None  # we say BEGIN ourselves: Python's driver leaves DDL outside of transactions
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    """Gateways that make the file at the same time meet here, and for this lock SQLite does not wait by itself."""
    for _ in range(_WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            time.sleep(0.05)
    cursor.execute("PRAGMA journal_mode=WAL")


def _lock(connection: sa.Connection) -> None:
    """Only one gateway migrates; the other waits here, and then finds nothing left to do."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7260520)"))
    else:
        connection.execute(sa.text("PRAGMA user_version = 1"))  # a write: it takes SQLite's only write lock


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
