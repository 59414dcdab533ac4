"""The scaler: decides, on the gateway that leads, how many replicas each elastic deployment shall have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from app.controllers.scaling import Decision, Memory, Situation, decide
from app.core.conditions import is_true
from app.core.tasks import Deployment
from app.runtimes.base import ProcessState, ServerObservation
from app.store.loads import Demand, LoadStore

STARVED = "Unschedulable"  # every runtime's word for a replica that finds no place
FORGOTTEN_SECONDS = 15.0  # without a look: others may have led meanwhile


class Scaler:
    """`own` are the demands of this gateway; those of the others are in `reports`."""

    def __init__(
        self,
        own: Callable[[], Mapping[str, Demand]],
        reports: LoadStore,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own, self._reports, self._clock = own, reports, clock
        self._memories: dict[str, Memory] = {}
        self._demands: Mapping[str, Demand] = {}
        self._looked_at = float("-inf")

    async def look(self, deployments: Iterable[Deployment]) -> None:
        """Learn what load there is; of a gateway that has not led before, all begins anew."""
        elastic = {one.uid for one in deployments if one.elastic}
        now = self._clock()
        if now - self._looked_at > FORGOTTEN_SECONDS:
            self._memories.clear()
        self._memories = {uid: self._memories.get(uid) or Memory.fresh(now) for uid in elastic}
        self._demands = await self._reports.of_others() if elastic else {}
        self._looked_at = now

    def decide(self, deployment: Deployment, found: ServerObservation | None) -> Decision:
        """For one of the elastic deployments that were looked at."""
        assert deployment.elastic is not None
        demand = self._demands.get(deployment.task_id, Demand()) + self._own().get(deployment.task_id, Demand())
        decision, self._memories[deployment.uid] = decide(
            deployment.elastic, _situation(deployment, found), demand, self._memories[deployment.uid], self._clock()
        )
        return decision


def _situation(deployment: Deployment, found: ServerObservation | None) -> Situation:
    replicas = found.replicas if found else ()
    status = deployment.status
    rolled_out = status.serving is not None and status.serving.revision == deployment.revision
    return Situation(
        wanted=deployment.spec.replicas,
        ready=sum(one.state is ProcessState.RUNNING for one in replicas),
        starved=sum(one.state is ProcessState.WAITING and one.reason == STARVED for one in replicas),
        settled=is_true(status.conditions, "Available")
        and (rolled_out or status.failed_revision == deployment.revision),
    )
