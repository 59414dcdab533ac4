"""Routes in memory: from the path of a prediction to the task that answers it, its replicas and its traffic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from app.core.addresses import Address
from app.core.routing import Load, RouteSpec
from app.proxy.choice import Choice
from app.proxy.metrics import Metrics
from app.proxy.pace import Pace
from app.proxy.replicas import Replica
from app.proxy.traffic import Traffic

PATHS = ("/api/v1/inference/{}/predict", "/inference/{}/predict")


class Route:
    """One task: which of its replicas are ready, and its traffic."""

    __slots__ = (
        "_choice",
        "_replicas",
        "pace",
        "ready",
        "size",
        "spec",
        "sticky_header",
        "task_id",
        "traffic",
        "waiting",
    )

    def __init__(self, task_id: str, traffic: Traffic) -> None:
        self.task_id = task_id
        self.traffic = traffic
        self.spec = RouteSpec()
        self.sticky_header = b""
        self.pace = Pace()
        self.waiting: set[asyncio.Event] = set()  # are told when there is something new to see
        self._replicas: dict[Address, Replica] = {}
        self._choice = Choice((), {})
        self.size = 0  # how many replicas may be asked
        self.ready = False  # whether one can answer

    @property
    def replicas(self) -> Sequence[Replica]:
        return tuple(self._replicas.values())

    def choose(self, key: bytes | None = None, tried: Sequence[Replica] = ()) -> Replica | None:
        """The replica for a request with this value of the sticky header; `tried` are those that did not take it."""
        return self._choice.another(key, tried) if tried else self._choice.first(key)

    def update(self, spec: RouteSpec) -> None:
        """Replicas that stay keep their counts and connections; those that go are retired."""
        if spec == self.spec:
            return
        if spec.backends != self.spec.backends:
            wanted = {address for backend in spec.backends for address in backend.addresses}
            for address in self._replicas.keys() - wanted:
                self._replicas.pop(address).retire()
            for address in wanted - self._replicas.keys():
                self._replicas[address] = Replica(address)
            self._choice = Choice(spec.backends, self._replicas)
            self.size = self._choice.size
            self.ready = self.size > 0
        self.spec = spec
        self.sticky_header = spec.sticky_header.encode("latin-1")
        for changed in self.waiting:
            changed.set()


class RouteTable:
    """For one event loop; not durable, a controller tells it anew.

    `when_wanted` is called with each prediction that finds no ready replica and is the first to wait for one,
    `when_behind` when somebody knows more than this table does.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.when_wanted: Callable[[], None] = lambda: None
        self.when_behind: Callable[[], None] = lambda: None
        self._metrics = metrics
        self._routes: dict[str, Route] = {}
        self._paths: dict[str, Route] = {}
        self._behind: set[asyncio.Event] = set()  # of those who wait for news

    def get(self, task_id: str) -> Route | None:
        return self._routes.get(task_id)

    def find(self, path: str) -> Route | None:
        """The route whose task answers predictions posted to this path, be it ready or not."""
        return self._paths.get(path)

    def loads(self) -> Mapping[str, Load]:
        """What this gateway has seen of each task's predictions; a task without predictions has its row too."""
        return {task_id: route.traffic.load() for task_id, route in self._routes.items()}

    def update(self, wanted: Mapping[str, RouteSpec]) -> None:
        """Make the table be `wanted`: every task, also those that nothing can answer for now. Idempotent.

        A task that is not in it loses its route and its metrics. Requests in flight are never cut off.
        """
        for task_id in self._routes.keys() - wanted.keys():
            self._routes.pop(task_id).update(RouteSpec())
            self._metrics.close(task_id)
        for task_id, spec in wanted.items():
            if task_id not in self._routes:
                self._routes[task_id] = Route(task_id, self._metrics.open(task_id))
            self._routes[task_id].update(spec)
        for news in self._behind:
            news.set()
        self._paths = {path.format(task_id): route for task_id, route in self._routes.items() for path in PATHS}

    async def catch_up(self, task_id: str, seconds: float) -> bool:
        """Whether the task's route is ready, at once or after news from the controller, which is asked for them."""
        news = asyncio.Event()
        self._behind.add(news)
        try:
            async with asyncio.timeout(seconds):
                while (route := self._routes.get(task_id)) is None or not route.ready:
                    news.clear()
                    self.when_behind()
                    await news.wait()
        except TimeoutError:
            return False
        finally:
            self._behind.discard(news)
        return True
