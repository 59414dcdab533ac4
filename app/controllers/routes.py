"""The controller of routes: tells this gateway's proxy which replicas are ready. It runs on every gateway."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Protocol

from app.core.conditions import Status, find, is_true
from app.core.routing import Backend, RouteSpec
from app.core.scaling import usual_seconds
from app.core.tasks import Deployment, Desired
from app.runtimes.base import ProcessState, Runtime, ServerObservation
from app.store.deployments import DeploymentStore


class Publish(Protocol):
    """Takes the routes of all tasks, by task id."""

    def __call__(self, wanted: Mapping[str, RouteSpec]) -> None: ...


_SHORTLY = 1.0  # seconds
_SLOW_WAKE = 1.5  # times what a wake usually takes


class RouteController:
    """Publishes the routes of every deployment that is not being deleted. `elastic` are the tasks of those that follow
    their load, as last seen."""

    def __init__(self, store: DeploymentStore, runtime: Runtime, publish: Publish) -> None:
        self._store = store
        self._runtime = runtime
        self._publish = publish
        self.elastic: Collection[str] = frozenset()

    async def round(self) -> None:
        wanted = [d for d in await self._store.all() if d.desired is Desired.RUN]
        observed = await self._runtime.observe_servers([d.spec.name for d in wanted]) if wanted else {}
        now = datetime.now(UTC)
        self.elastic = frozenset(one.task_id for one in wanted if one.elastic)
        self._publish({one.task_id: route_of(one, observed.get(one.spec.name), now) for one in wanted})


def route_of(deployment: Deployment, server: ServerObservation | None, now: datetime) -> RouteSpec:
    """The route of a deployment whose server was seen so; another life's server is not its own."""
    replicas = server.replicas if server is not None and server.uid == deployment.uid else ()
    ready = (one.address for one in replicas if one.state is ProcessState.RUNNING and one.address is not None)
    usual = usual_seconds(deployment.status.wakes) if deployment.elastic else None
    return RouteSpec(
        backends=(Backend(tuple(ready)),),
        sticky_header=(deployment.wanted.get("stickyHeader") or "").lower(),
        expected=is_expected(deployment, now),
        expected_in=deployment.wake_left(now) or _SHORTLY,
        hold_seconds=_SLOW_WAKE * usual if usual else 0,
    )


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
