"""The database: migrations lead to the tables, twice is harmless, and failures are outages."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.core.errors import ConfigurationError, StoreUnavailable
from app.store.database import HEAD, Database
from app.store.tables import metadata
from tests.support.platform import sqlite_is_quiet


def _url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/test.db"


async def test_migrations_lead_to_the_tables_that_the_code_uses(database: Database) -> None:
    async with database.begin() as connection:
        differences = await connection.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
        version = (await connection.execute(sa.text("SELECT version_num FROM alembic_version"))).scalar()
    assert differences == []
    assert version == HEAD


async def test_three_gateways_may_migrate_at_once(url: str) -> None:
    databases = [Database(url) for _ in range(3)]
    await asyncio.gather(*(database.migrate() for database in databases))
    for database in databases:
        await database.check()
        await database.close()


async def test_a_database_that_cannot_be_reached_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/no/such/folder/x.db")
    with pytest.raises(StoreUnavailable, match="unable to open"):
        await database.check()
    await database.close()
    await sqlite_is_quiet()


def test_a_url_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Database("s3cret:pass")
    assert "s3cret" not in str(refused.value)


async def test_writes_are_durable_and_readers_do_not_wait(tmp_path: Path) -> None:
    database = Database(_url(tmp_path))
    async with database.begin() as connection:
        mode = (await connection.execute(sa.text("PRAGMA journal_mode"))).scalar()
        synchronous = (await connection.execute(sa.text("PRAGMA synchronous"))).scalar()
    await database.close()
    assert (mode, synchronous) == ("wal", 2)
