"""Deployments in the database. A deployment that is wholly gone has no row, so its names are free again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import IntegrityError

from app.core.conditions import DeploymentPhase
from app.core.errors import DeploymentNotFound
from app.core.scaling import Elastic
from app.core.specs import ServerSpec
from app.core.tasks import Deployment, DeploymentStatus, Desired
from app.store.database import Database, whole
from app.store.pages import Page, page_query, token_after
from app.store.tables import deployments

_spec = TypeAdapter(ServerSpec)
_status = TypeAdapter(DeploymentStatus)
_elastic = TypeAdapter(Elastic | None)


class DeploymentStore:
    """What callers asked for and what controllers saw. The two write different columns, so neither undoes the other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @whole
    async def add(self, deployment: Deployment) -> tuple[Deployment, bool]:
        """Keep `deployment` if its task id and model id are free.

        Returns what stands in its way, the one with its task id first, or itself; and whether it was kept.
        """
        values = {
            "task_id": deployment.task_id,
            "model_id": deployment.model_id,
            "uid": deployment.uid,
            "profile": deployment.request["modelProfile"],
            "request": dict(deployment.request),
            **_asked_values(deployment),
            "desired": deployment.desired.value,
            "created_at": deployment.created_at,
            **_status_values(deployment.status),
        }
        try:
            async with self._database.begin() as connection:
                inserted = await connection.execute(
                    sa.insert(deployments).values(values).returning(deployments.c.sequence)
                )
                return replace(deployment, sequence=inserted.scalar_one()), True
        except IntegrityError:
            found = await self.find(task_id=deployment.task_id) or await self.find(model_id=deployment.model_id)
            return (found, False) if found else await self.add(deployment)

    @whole
    async def find(self, *, task_id: str | None = None, model_id: str | None = None) -> Deployment | None:
        column, value = (deployments.c.task_id, task_id) if task_id else (deployments.c.model_id, model_id)
        async with self._database.begin() as connection:
            row = (await connection.execute(sa.select(deployments).where(column == value))).one_or_none()
        return _deployment(row) if row else None

    @whole
    async def get(self, task_id: str) -> Deployment:
        """Raises `DeploymentNotFound`."""
        if (found := await self.find(task_id=task_id)) is None:
            raise DeploymentNotFound(task_id)
        return found

    @whole
    async def list(
        self, *, size: int, token: str = "", phase: DeploymentPhase | None = None, profile: str | None = None
    ) -> Page[Deployment]:
        """Newest first. Raises `InvalidParameter` for a token that is not ours."""
        wanted = ((deployments.c.phase, phase and phase.value), (deployments.c.profile, profile))
        filters = [column == value for column, value in wanted if value is not None]
        async with self._database.begin() as connection:
            rows = (await connection.execute(page_query(deployments, filters, size, token))).all()
        return Page([_deployment(row) for row in rows[:size]], token_after(rows, size))

    @whole
    async def all(self) -> Sequence[Deployment]:
        """Every deployment, oldest first."""
        async with self._database.begin() as connection:
            return [_deployment(r) for r in await connection.execute(sa.select(deployments).order_by("sequence"))]

    @whole
    async def change(self, task_id: str, change: Callable[[Deployment], Deployment]) -> Deployment:
        """Replace what callers asked for by what `change` makes of it, all at once; the request stays as it was sent.

        Changes of one deployment come one after the other: the row is locked while `change`, which may raise a
        refusal, is called. Raises `DeploymentNotFound`.
        """
        lock = sa.update(deployments).where(deployments.c.task_id == task_id).values(task_id=task_id)
        async with self._database.begin() as connection:
            row = (await connection.execute(lock.returning(*deployments.c))).one_or_none()
            if row is None:
                raise DeploymentNotFound(task_id)
            kept = _deployment(row)
            changed = change(kept)
            if changed != kept:
                await connection.execute(
                    sa.update(deployments).where(deployments.c.uid == kept.uid).values(_asked_values(changed))
                )
        return changed

    @whole
    async def scale(self, uid: str, before: int, after: int) -> bool:
        """Decide on `after` replicas for an elastic deployment, if the decision so far was `before`; whether it was."""
        return await self._decide(deployments.c.uid == uid, deployments.c.scale == before, scale=after)

    @whole
    async def wake(self, task_id: str) -> bool:
        """Decide on the first replica of an elastic deployment that sleeps; whether it did. Of callers at once, of
        several gateways too, one wakes it."""
        is_asleep = sa.and_(deployments.c.scale == 0, deployments.c.desired == Desired.RUN.value)
        woken = deployments.c.woken + 1
        return await self._decide(deployments.c.task_id == task_id, is_asleep, scale=1, woken=woken)

    async def _decide(self, *where: sa.ColumnElement[bool], **values: Any) -> bool:
        async with self._database.begin() as connection:
            done = await connection.execute(sa.update(deployments).where(*where).values(**values))
        return done.rowcount == 1

    @whole
    async def wakes(self) -> int:
        """A number that changes with each wake."""
        async with self._database.begin() as connection:
            return (await connection.execute(sa.select(sa.func.sum(deployments.c.woken)))).scalar() or 0

    @whole
    async def stop(self, task_id: str) -> Deployment:
        """Ask for the deployment's end; harmless when repeated. Raises `DeploymentNotFound`."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.update(deployments).where(deployments.c.task_id == task_id).values(desired=Desired.STOP.value)
            )
        return await self.get(task_id)

    @whole
    async def record(self, uid: str, status: DeploymentStatus) -> None:
        """Keep what was seen of the deployment with this uid."""
        async with self._database.begin() as connection:
            await connection.execute(
                sa.update(deployments).where(deployments.c.uid == uid).values(_status_values(status))
            )

    @whole
    async def remove(self, uid: str) -> None:
        """Forget the deployment with this uid: nothing of it runs any more."""
        async with self._database.begin() as connection:
            await connection.execute(sa.delete(deployments).where(deployments.c.uid == uid))


def _asked_values(deployment: Deployment) -> dict[str, Any]:
    return {
        "spec": _spec.dump_python(deployment.spec, mode="json"),
        "run_id": deployment.run_id,
        "model_version": deployment.model_version,
        "revision": deployment.revision,
        "model": dict(deployment.model) or None,
        "elastic": _elastic.dump_python(deployment.elastic, mode="json"),
        "scale": deployment.spec.replicas if deployment.elastic else None,
    }


def _status_values(status: DeploymentStatus) -> dict[str, Any]:
    return {"phase": status.phase.value, "status": _status.dump_python(status, mode="json")}


def _deployment(row: sa.Row[Any]) -> Deployment:
    spec = _spec.validate_python(row.spec)
    return Deployment(
        sequence=row.sequence,
        task_id=row.task_id,
        uid=row.uid,
        model_id=row.model_id,
        request=row.request,
        spec=spec if row.scale is None else replace(spec, replicas=row.scale),
        desired=Desired(row.desired),
        run_id=row.run_id,
        model_version=row.model_version,
        status=_status.validate_python(row.status),
        created_at=row.created_at,
        revision=row.revision,
        model=row.model or {},
        elastic=_elastic.validate_python(row.elastic),
        woken=row.woken,
    )
