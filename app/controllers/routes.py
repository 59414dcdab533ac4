"""The controller of routes: tells this gateway's proxy which replicas are ready. It runs on every gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.core.addresses import Address
from app.core.tasks import Desired
from app.runtimes.base import ProcessState, Runtime
from app.store.deployments import DeploymentStore

Addresses = tuple[Address, ...]


class RouteController:
    """`publish` takes the ready replicas' addresses by task id, of every deployment that is not being deleted."""

    def __init__(
        self, store: DeploymentStore, runtime: Runtime, publish: Callable[[Mapping[str, Addresses]], None]
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._publish = publish

    async def round(self) -> None:
        wanted = {d.spec.name: d for d in await self._store.all() if d.desired is Desired.RUN}
        observed = await self._runtime.observe_servers(list(wanted)) if wanted else {}
        self._publish(
            {
                wanted[name].task_id: tuple(
                    replica.address
                    for replica in server.replicas
                    if replica.state is ProcessState.RUNNING and replica.address is not None
                )
                for name, server in observed.items()
                if server.uid == wanted[name].uid
            }
        )
