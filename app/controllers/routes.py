"""The controller of routes: tells this gateway's proxy which replicas are ready. It runs on every gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol

from app.core.addresses import Address
from app.core.conditions import Status, find, is_true
from app.core.tasks import Deployment, Desired
from app.runtimes.base import ProcessState, Runtime
from app.store.deployments import DeploymentStore

Addresses = tuple[Address, ...]


class Publish(Protocol):
    """Takes the ready replicas' addresses by task id, and the task ids that shall have a ready one shortly."""

    def __call__(self, wanted: Mapping[str, Addresses], expected: Collection[str]) -> None: ...


class RouteController:
    """Publishes the routes of every deployment that is not being deleted."""

    def __init__(self, store: DeploymentStore, runtime: Runtime, publish: Publish) -> None:
        self._store = store
        self._runtime = runtime
        self._publish = publish

    async def round(self) -> None:
        wanted = {d.spec.name: d for d in await self._store.all() if d.desired is Desired.RUN}
        observed = await self._runtime.observe_servers(list(wanted)) if wanted else {}
        addresses = {
            wanted[name].task_id: tuple(
                replica.address
                for replica in server.replicas
                if replica.state is ProcessState.RUNNING and replica.address is not None
            )
            for name, server in observed.items()
            if server.uid == wanted[name].uid
        }
        now = datetime.now(UTC)
        self._publish(addresses, [one.task_id for one in wanted.values() if is_expected(one, now)])


def is_expected(deployment: Deployment, now: datetime) -> bool:
    """Whether it shall answer shortly, if it does not now: it was ready once, is wanted, and has not been away for
    longer than a start may take. One that sleeps is woken; one that has no replicas by somebody's wish is not."""
    status = deployment.status
    if not is_true(status.conditions, "Available"):
        return False
    if deployment.spec.replicas == 0 or status.wanted == 0:
        return deployment.elastic is not None
    ready = find(status.conditions, "Ready")
    if ready is None or ready.status is Status.TRUE:
        return True
    away_since = max(ready.last_transition_time, status.wanted_since or ready.last_transition_time)
    return now - away_since < deployment.spec.start_deadline
