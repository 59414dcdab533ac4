"""The controller of traffic, on every gateway: what its proxy has of each elastic deployment, and the wakes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping

import structlog

from app.controllers.windows import Windows
from app.core.routing import Load
from app.store.deployments import DeploymentStore
from app.store.loads import Demand, LoadStore

REPORT_SECONDS = 1.0  # between two reports, and between two tries to wake the same deployment
REPEAT_SECONDS = 5.0  # after which a report that has not changed is told again: it says that we live
log = structlog.get_logger(__name__)

Loads = Callable[[], Mapping[str, Load]]


class TrafficController:
    """`loads` are the proxy's, by task id; `elastic` the tasks whose load matters. `woken` is called after a wake.

    What a gateway has is told to the one whose controllers act, by way of the store. That one tells nobody, as it has
    its own at hand; a gateway without load writes nothing.
    """

    def __init__(
        self,
        loads: Loads,
        elastic: Callable[[], Collection[str]],
        store: DeploymentStore,
        reports: LoadStore,
        leads: Callable[[], bool],
        woken: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loads, self._elastic, self._store, self._reports = loads, elastic, store, reports
        self._leads, self._woken, self._clock = leads, woken, clock
        self._windows: dict[str, Windows] = {}
        self._read_at = self._told_at = float("-inf")
        self._told: Mapping[str, Demand] = {}
        self._tried: dict[str, float] = {}

    @property
    def demands(self) -> Mapping[str, Demand]:
        """Of this gateway, by task id, as of a moment ago; a task without any load is left out."""
        self._read()
        found = {task: windows.demand for task, windows in self._windows.items()}
        return {task: demand for task, demand in found.items() if demand != Demand()}

    async def round(self) -> None:
        elastic, now = self._elastic(), self._clock()
        self._read()
        await self._wake({task for task, load in self._loads().items() if load.held and task in elastic}, now)
        await self._tell(now)

    def _read(self) -> None:
        """Whoever asks, so that one round that comes late does not make the others believe that nothing goes on."""
        now = self._clock()
        if now - self._read_at < REPORT_SECONDS:
            return
        elastic, self._read_at = self._elastic(), now
        loads = {task: load for task, load in self._loads().items() if task in elastic}
        self._windows = {task: self._windows.get(task) or Windows() for task in loads}
        for task, load in loads.items():
            self._windows[task].read(load)

    async def _wake(self, waited_for: Collection[str], now: float) -> None:
        """One that only starts, or is not to run, stays as it is: the store decides, and once."""
        self._tried = {task: at for task, at in self._tried.items() if now - at < REPORT_SECONDS}
        for task in set(waited_for) - self._tried.keys():
            self._tried[task] = now
            if await self._store.wake(task):
                log.info("deployment_woken", task_id=task)
                self._woken()

    async def _tell(self, now: float) -> None:
        demands = {} if self._leads() else self.demands
        age = now - self._told_at
        if (demands != self._told and age >= REPORT_SECONDS) or (demands and age >= REPEAT_SECONDS):
            await self._reports.report(demands)
            self._told, self._told_at = demands, now


class WakeListener:
    """Hears, on the gateway that leads, of wakes that others have noted; `heard` is called after each."""

    PERIOD = 0.2  # seconds; a read of one number, and none where nothing can be woken

    def __init__(
        self, store: DeploymentStore, elastic: Callable[[], Collection[str]], heard: Callable[[], None]
    ) -> None:
        self._store, self._elastic, self._heard = store, elastic, heard
        self._known = 0

    async def round(self) -> None:
        if not self._elastic():
            return
        wakes = await self._store.wakes()
        if wakes != self._known:
            self._known = wakes
            self._heard()
