"""Routes in memory: which replicas are ready for a task, how busy each is, and their kept-alive connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from time import monotonic

from app.core.addresses import Address
from app.proxy.client import Connection, connect
from app.proxy.metrics import Meter, Metrics

PATHS = ("/api/v1/inference/{}/predict", "/inference/{}/predict")
IDLE_SECONDS = 4.0  # servers commonly close an idle connection after 5 s (uvicorn does): be first


class Replica:
    """One server of a task. `busy` counts the requests in flight to it from this gateway."""

    __slots__ = ("_idle", "_retired", "address", "busy", "request_line")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.busy = 0
        self._idle: deque[Connection] = deque()
        self._retired = False
        self.request_line = _request_line(address)

    def __str__(self) -> str:
        return str(self.address)

    def idle_connection(self) -> Connection | None:
        """The kept-alive connection used last, if any; to be given back with `release`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > monotonic() - IDLE_SECONDS:
                self.busy += 1
                return connection
            connection.close()
        return None

    async def connect(self, timeout: float) -> Connection:
        """A fresh connection, to be given back with `release`. Raises OSError if there is none in `timeout` seconds."""
        self.busy += 1
        try:
            return await connect(self.address, timeout)
        except BaseException:
            self.busy -= 1
            raise

    def release(self, connection: Connection) -> None:
        """The request is over: keep the connection for the next if it is fit for one, else close it."""
        self.busy -= 1
        if self._retired or not connection.reusable:
            connection.close()
            return
        connection.idle_since = now = monotonic()
        self._idle.append(connection)
        if self._idle[0].idle_since < now - IDLE_SECONDS:
            self._idle.popleft().close()

    def retire(self) -> None:
        """Close what is idle; requests in flight end in peace, and their connections close behind them."""
        self._retired = True
        while self._idle:
            self._idle.pop().close()


def _request_line(address: Address) -> bytes:
    """The request line, and the headers that are the same for every request to this replica."""
    host, port, via = address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    line = f"POST {via.prefix if via else ''}/predict HTTP/1.1\r\nhost: {name}\r\n"
    if via and via.authorization:
        line += f"authorization: {via.authorization}\r\n"
    return line.encode("latin-1")


class Route:
    """The ready replicas of one task; none: the task is known, and nothing can answer for it now."""

    __slots__ = ("meter", "replicas", "task_id")

    def __init__(self, task_id: str, meter: Meter) -> None:
        self.task_id = task_id
        self.meter = meter
        self.replicas: list[Replica] = []

    def choose(self, tried: Collection[Replica] = ()) -> Replica | None:
        """The least busy replica that was not tried, among equals the one whose turn is longest past."""
        replicas = self.replicas
        if len(replicas) == 1 and not tried:
            return replicas[0]
        fit = [replica for replica in replicas if replica not in tried]
        if not fit:
            return None
        choice = min(fit, key=lambda replica: replica.busy)
        replicas.remove(choice)
        replicas.append(choice)
        return choice

    def update(self, addresses: Collection[Address]) -> None:
        """Replicas that stay keep their counts and connections; those that go are retired."""
        known = {replica.address: replica for replica in self.replicas}
        for address in known.keys() - set(addresses):
            known.pop(address).retire()
        self.replicas = [known.get(address) or Replica(address) for address in dict.fromkeys(addresses)]


class RouteTable:
    """From the path of a prediction to its route. For one event loop; not durable, a controller tells it anew."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._routes: dict[str, Route] = {}
        self._paths: dict[str, Route] = {}
        self._expected: frozenset[str] = frozenset()
        self._changed = asyncio.Event()

    def get(self, task_id: str) -> Route | None:
        return self._routes.get(task_id)

    def find(self, path: str) -> Route | None:
        """The route that answers predictions posted to this path."""
        return self._paths.get(path)

    def expects(self, path: str) -> bool:
        """Whether predictions posted to this path will be answered again shortly."""
        return path in self._expected

    async def changed(self) -> None:
        """Return after the next update, or `wake`."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let those who wait for a change look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def update(self, wanted: Mapping[str, Collection[Address]], expected: Collection[str] = ()) -> None:
        """Make the table be `wanted`: every task with the (host, port) of its ready replicas, maybe none. Idempotent.

        `expected` are the tasks that shall have a ready replica shortly, if they have none now. A task that is not in
        `wanted` loses its route and its metrics. Requests in flight are never cut off.
        """
        for task_id in self._routes.keys() - wanted.keys():
            self._routes.pop(task_id).update(())
            self._metrics.close(task_id)
        for task_id, addresses in wanted.items():
            if task_id not in self._routes:
                self._routes[task_id] = Route(task_id, self._metrics.open(task_id))
            self._routes[task_id].update(addresses)
        self._paths = {
            path.format(task_id): route for task_id, route in self._routes.items() if route.replicas for path in PATHS
        }
        self._expected = frozenset(path.format(task_id) for task_id in expected for path in PATHS)
        self.wake()
