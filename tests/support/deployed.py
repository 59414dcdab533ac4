"""Rows of deployments for tests of the store, which look at no more than their names."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from app.store.database import Database
from app.store.tables import deployments


async def deployed(database: Database, task_id: str, uid: str) -> None:
    """A deployment that shall run."""
    texts = dict.fromkeys(("profile", "run_id", "phase"), "")
    nothing: dict[str, dict[str, str]] = {name: {} for name in ("request", "spec", "status")}
    row = {"task_id": task_id, "model_id": task_id, "uid": uid, "desired": "run", "created_at": datetime.now(UTC)}
    async with database.begin() as connection:
        await connection.execute(sa.insert(deployments).values(**row, **texts, **nothing))
