"""The only place that wires parts together: settings in, a platform out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx2
import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from app.archive.base import Archive
from app.archive.settings import ArchiveSettings, open_archive
from app.controllers.deployments import DeploymentController
from app.controllers.jobs import JobController
from app.controllers.leadership import Leadership
from app.controllers.loop import Loop
from app.controllers.predictions import PredictionController
from app.controllers.routes import RouteController
from app.controllers.scaler import Scaler
from app.controllers.traffic import TrafficController, WakeListener
from app.controllers.wake_metrics import WakeMetrics
from app.controllers.wakes import WakeWatch
from app.core.errors import ConfigurationError, StoreUnavailable
from app.core.nudge import Nudges
from app.core.profiles import Profiles
from app.core.settings import KubernetesRuntimeSettings, LogSettings, Settings
from app.proxy.inside import Inside
from app.proxy.metrics import Metrics
from app.proxy.routes import RouteTable
from app.runtimes.base import Runtime
from app.runtimes.local.mlflow import MlflowServer
from app.runtimes.local.runtime import LocalRuntime
from app.runtimes.local.settings import LocalSettings, Patience
from app.services.carrying import Carrier
from app.services.deployments import DeploymentService
from app.services.logs import LogService
from app.services.planning import Planner
from app.services.predictions import PredictionService
from app.services.tally import Tally
from app.services.training import TrainingService
from app.store.database import Database
from app.store.deployments import DeploymentStore
from app.store.jobs import JobStore
from app.store.leases import Lease
from app.store.loads import LoadStore
from app.store.predictions import HOLDER_PREFIX, PredictionStore
from app.tracking.mlflow import Mlflow

if TYPE_CHECKING:
    from app.runtimes.kubernetes.settings import KubernetesSettings

log = structlog.get_logger(__name__)


Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Platform:
    """All parts, wired. `open` before use, `close` after; jobs and servers outlive both."""

    settings: Settings
    profiles: Profiles
    database: Database
    tracking: Mlflow
    runtime: Runtime
    training: TrainingService
    deployments: DeploymentService
    predictions: PredictionService
    logs: LogService
    routes: RouteTable
    inside: Inside
    registry: CollectorRegistry
    runtime_name: str
    checks: Mapping[str, Check]
    runner: Runner

    async def open(self) -> None:
        await self.database.migrate()
        await self.runner.start()

    async def close(self) -> None:
        await self.runner.stop()
        await self.database.close()


class Neighbour(Protocol):
    """Something that must run beside the gateway."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Runner:
    """What runs for as long as the platform does: neighbours that are started and closed, and loops in tasks."""

    def __init__(self, neighbours: Sequence[Neighbour], leadership: Leadership, loops: Sequence[Loop]) -> None:
        self._neighbours = neighbours
        self._leadership = leadership
        self._loops = loops
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        for neighbour in self._neighbours:
            await neighbour.start()
        self._tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in self._loops]

    def leads(self) -> bool:
        """Whether this gateway's controllers act."""
        return self._leadership.is_ours()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):  # then the lease runs out by itself
            await self._leadership.resign()
        for neighbour in reversed(self._neighbours):
            await neighbour.close()


def build(settings: Settings) -> Platform:
    """The platform that these settings ask for. Raises `ConfigurationError`. Nothing runs yet."""
    nudges = Nudges()
    client = httpx2.AsyncClient(base_url=settings.tracking_uri, timeout=settings.tracking.timeout_seconds)
    if settings.runtime == "kubernetes":
        return _kubernetes(settings, nudges, Mlflow(client))
    return _local(settings, nudges, Mlflow(client))


def _local(settings: Settings, nudges: Nudges, tracking: Mlflow) -> Platform:
    runtime = LocalRuntime(_local_settings(settings), on_change=nudges)
    own_mlflow = [] if settings.tracking.uri else [MlflowServer(runtime, settings.tracking.port)]

    async def check_tracking() -> None:
        """Our own MLflow must be the one that answers, not another program on its port."""
        for server in own_mlflow:
            await server.check()
        await tracking.check()

    return assemble(settings, runtime, tracking, nudges, [runtime, *own_mlflow], check_tracking)


def _kubernetes(settings: Settings, nudges: Nudges, tracking: Mlflow) -> Platform:
    """Raises `ConfigurationError` without an MLflow that pods can reach: the platform's own is one of this machine."""
    from app.runtimes.kubernetes.runtime import KubernetesRuntime  # its client costs 57 MB

    if settings.tracking.uri is None:
        raise ConfigurationError("On Kubernetes set MLOPS_TRACKING__URI to an MLflow that the cluster's pods reach.")
    own = _kubernetes_settings(settings.kubernetes, settings.model_cache_size)
    runtime = KubernetesRuntime(own, nudges, _archive(settings.logs))
    platform = assemble(settings, runtime, tracking, nudges, [runtime])
    runtime.ships = platform.runner.leads
    return platform


def _archive(logs: LogSettings) -> Archive | None:
    if not logs.url:
        return None
    secret = logs.secret_key.get_secret_value()
    return open_archive(ArchiveSettings(logs.url, logs.endpoint, logs.region, logs.access_key, secret))


def assemble(
    settings: Settings,
    runtime: Runtime,
    tracking: Mlflow,
    nudges: Nudges,
    neighbours: Sequence[Neighbour] = (),
    check_tracking: Check | None = None,
) -> Platform:
    """Wire a platform around a runtime and an MLflow. Calling `nudges` makes its controllers look at once."""
    profiles = Profiles.read(settings.profiles)
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(f"MLOPS_HOME cannot be made: {error}") from error
    database = Database(settings.store_url)
    jobs, deployments = JobStore(database), DeploymentStore(database)
    registry = _registry()
    routes = RouteTable(Metrics(registry))
    holder, period, lease = _holder(), settings.controller.period_seconds, settings.controller.lease_seconds
    leadership = Leadership(Lease(database, "controllers", holder, lease), nudges)
    inside = Inside(routes, settings.deferred)
    predictions = PredictionStore(database, settings.deferred)
    carrier = Carrier(predictions, inside.ask, f"{HOLDER_PREFIX}{holder}", inside.width)
    prediction_controller = _prediction_controller(settings, database, predictions, carrier, registry)
    loops = [
        Loop("leadership", leadership.round, lease / 4),
        Loop("jobs", JobController(jobs, runtime, tracking).round, period, leadership.is_ours),
        *_deployment_loops(
            leadership, deployments, LoadStore(database, holder), runtime, routes, WakeMetrics(registry), nudges, period
        ),
        Loop("predictions", prediction_controller.round, lease / 4),
        Loop("results", prediction_controller.clean, period * 30, leadership.is_ours),
    ]
    nudge = {loop.name: loop.nudge for loop in loops}
    routes.when_wanted, routes.when_behind = nudge["traffic"], nudge["routes"]
    for name in ("jobs", "deployments", "routes"):
        nudges.add(nudge[name])
    patience = settings.tracking.patience_seconds
    planner = Planner(profiles, settings.tracking_uri, patience, settings.model_cache_size)
    return Platform(
        settings=settings,
        profiles=profiles,
        database=database,
        tracking=tracking,
        runtime=runtime,
        training=TrainingService(jobs, runtime, planner, nudge["jobs"]),
        deployments=DeploymentService(deployments, runtime, tracking, planner, nudges),
        predictions=PredictionService(
            deployments, predictions, carrier, inside.away, routes.catch_up, settings.deferred
        ),
        logs=LogService(runtime),
        routes=routes,
        inside=inside,
        registry=registry,
        runtime_name=settings.runtime,
        checks={
            "store": database.check,
            "tracking": check_tracking or tracking.check,
            "runtime": runtime.check,
        },
        runner=Runner([*neighbours, prediction_controller], leadership, loops),
    )


def _deployment_loops(
    leadership: Leadership, store: DeploymentStore, reports: LoadStore, runtime: Runtime, routes: RouteTable,
    metrics: WakeMetrics, nudges: Nudges, period: float,
) -> list[Loop]:  # fmt: skip
    """On every gateway routes and traffic; on the one that leads, what acts."""
    published = RouteController(store, runtime, routes.update)
    traffic = TrafficController(
        routes.loads, lambda: published.elastic, store, reports, leadership.is_ours, woken=nudges
    )
    acting = DeploymentController(store, runtime, Scaler(lambda: traffic.demands, reports), WakeWatch(metrics.record))
    listener = WakeListener(store, lambda: published.elastic, nudges)
    return [
        Loop("deployments", acting.round, period, leadership.is_ours),
        Loop("routes", published.round, period),
        Loop("traffic", traffic.round, period),
        Loop("wakes", listener.round, min(period, listener.PERIOD), leadership.is_ours),
    ]


def _prediction_controller(
    settings: Settings, database: Database, store: PredictionStore, carrier: Carrier, registry: CollectorRegistry
) -> PredictionController:
    patience = settings.controller.lease_seconds
    tally = Tally(registry, carrier.pending)
    carrier.on_end = tally.count
    lease = Lease(database, carrier.holder, carrier.holder, patience)
    return PredictionController(store, lease, carrier, patience, tally.take)


def _local_settings(settings: Settings) -> LocalSettings:
    local = settings.local
    return LocalSettings(
        home=settings.home,
        python=local.python,
        gpus=local.gpus,
        job_patience=Patience(interrupt=local.interrupt_patience_seconds, terminate=local.terminate_patience_seconds),
    )


def _kubernetes_settings(given: KubernetesRuntimeSettings, model_cache_bytes: int) -> KubernetesSettings:
    """Raises `ConfigurationError`."""
    from app.runtimes.kubernetes.settings import KubernetesSettings

    plain = given.model_dump(exclude={"job_ttl_seconds", "node_patience_seconds"})
    return KubernetesSettings(
        **plain,
        job_ttl=given.job_ttl_seconds,
        node_patience=given.node_patience_seconds,
        model_cache_bytes=model_cache_bytes,
    )


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _holder() -> str:
    return f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
