"""The HTTP side on a real socket, in this process, with a model that does what a test tells it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from inference_server.app import InferenceApp
from inference_server.batching import Batcher, Bounds
from inference_server.cost import Cost
from inference_server.messages import Route
from inference_server.model import READY
from inference_server.predicting import Predictor
from inference_server.problems import NotReady
from inference_server.reading import Bounds as ReadingBounds
from inference_server.server import Server
from inference_server.worker import Worker


class Echo:
    """A served model, and its family: a row is one item of a list, and its prediction. `work` is done first."""

    def __init__(self, work: Callable[[Sequence[Any]], None] = lambda rows: None) -> None:
        self.phase = READY
        self.work = work
        self.batches: list[list[Any]] = []

    @property
    def is_ready(self) -> bool:
        return self.phase is READY

    writes = None
    names = ("echo",)
    version = "run-1"

    def require_ready(self) -> None:
        if not self.is_ready:
            raise NotReady(f"{self.phase.reason}: {self.phase.message}")

    @property
    def family(self) -> Echo:
        return self

    def parse(self, data: object) -> Sequence[Any]:
        return data if isinstance(data, list) else [data]

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(rows))
        self.work(rows)
        return list(rows)

    def rendered(self, outputs: Sequence[Any]) -> Mapping[str, Any]:
        return {"predictions": list(outputs)}

    def describe(self) -> dict[str, Any]:
        return {"modelId": "echo"}


def batcher_of(model: Echo, bounds: Bounds | None = None, seconds_a_call: float = 1.0) -> Batcher:
    """By default a call is known to be costly: predictions run in the thread, so that a test may block them."""
    cost = Cost()
    cost.note(1, seconds_a_call)
    return Batcher(model.predict, Worker(), bounds, cost)


@asynccontextmanager
async def listening(app: Any, bounds: ReadingBounds | None = None) -> AsyncIterator[str]:
    """`host:port` of a server for this app."""
    server = Server(app, bounds)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start(listener)
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.stop(5)


@asynccontextmanager
async def client(
    model: Echo,
    *,
    batching: Bounds | None = None,
    reading: ReadingBounds | None = None,
    seconds_a_call: float = 1.0,
    routes: Iterable[Route] = (),
) -> AsyncIterator[httpx2.AsyncClient]:
    predictor = Predictor(batcher_of(model, batching, seconds_a_call), Worker("reader"))
    app = InferenceApp(model, predictor, routes)  # type: ignore[arg-type]
    limits = httpx2.Limits(max_connections=200)
    async with (
        listening(app, reading) as address,
        httpx2.AsyncClient(base_url=f"http://{address}", limits=limits, timeout=30, trust_env=False) as http,
    ):
        yield http
