"""The table of routes: which path is whose protocol, all to one model."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from inference_server import __version__
from inference_server.batching import Outputs
from inference_server.messages import Answer, Request, Route
from inference_server.model import ServedModel
from inference_server.predicting import Predictor
from inference_server.problems import ModelUnknown
from inference_server.protocols import mlflow, openai, v1, v2
from inference_server.protocols.bodies import Asked, unknown_model
from inference_server.protocols.signature import Signature
from inference_server.protocols.streams import Streams
from inference_server.words import short

Respond = Callable[[Request], Answer | Awaitable[Answer]]


class Protocols:
    """The routes of every protocol but the platform's own. A model is called by its modelId or its taskId."""

    def __init__(self, model: ServedModel, predictor: Predictor, streams: Streams) -> None:
        self._model = model
        self._predictor = predictor
        self._streams = streams
        self._created = int(time.time())

    def routes(self) -> Iterator[Route]:
        yield from self._v2()
        yield from self._v1()
        yield Route("POST", "/invocations", self._ready_first(self._invoke), mlflow.refuse)
        for path in ("/ping", "/health"):
            yield Route("GET", path, self._ready_first(lambda _: Answer(200, b"\n")), mlflow.refuse)
        yield Route("GET", "/version", lambda _: Answer(200, mlflow.VERSION.encode()), mlflow.refuse)
        yield from self._openai()

    def _v2(self) -> Iterator[Route]:
        about = {"name": "modelyard", "version": __version__, "extensions": v2.EXTENSIONS}
        yield Route("GET", "/v2", lambda _: Answer.json(200, about), v2.refuse)
        yield Route("GET", "/v2/health/live", lambda _: Answer.json(200, {"live": True}), v2.refuse)
        yield Route(
            "GET", "/v2/health/ready", self._ready_first(lambda _: Answer.json(200, {"ready": True})), v2.refuse
        )
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            yield Route("GET", path, self._named(self._metadata), v2.refuse)
            yield Route("GET", f"{path}/ready", self._named(_is_ready), v2.refuse)
            yield Route("POST", f"{path}/infer", self._named(self._infer), v2.refuse)

    def _v1(self) -> Iterator[Route]:
        yield Route("GET", "/v1/models", lambda _: Answer.json(200, {"models": self._model.names[:1]}), v1.refuse)
        yield Route("POST", "/v1/models/{model}:predict", self._named(self._predict), v1.refuse)
        yield Route("GET", "/v1/models/{model}", self._named(self._status), v1.refuse)

    def _openai(self) -> Iterator[Route]:
        yield Route("GET", "/openai/v1/models", self._ready_first(self._models), openai.refuse)
        yield Route("GET", "/openai/v1/models/{model}", self._named(self._one_model), openai.refuse)
        for path, read in (("completions", openai.read_completion), ("chat/completions", openai.read_chat)):
            respond = self._ready_first(lambda request, read=read: self._streams.generate(request, read))  # type: ignore[misc]
            yield Route("POST", f"/openai/v1/{path}", respond, openai.refuse)

    def _ready_first(self, respond: Respond) -> Respond:
        def answer(request: Request) -> Answer | Awaitable[Answer]:
            self._model.require_ready()
            return respond(request)

        return answer

    def _named(self, respond: Respond) -> Respond:
        """Only for this model, and the version that it has."""

        def answer(request: Request) -> Answer | Awaitable[Answer]:
            names, version = self._model.names, self._model.version
            if (name := request.named["model"]) not in names:
                raise unknown_model(name, names)
            if (asked := request.named.get("version", version)) != version:
                raise ModelUnknown(f"There is no version {short(asked)} here; served is {short(version)}.")
            self._model.require_ready()
            return respond(request)

        return answer

    @cached_property
    def _signature(self) -> Signature:
        return Signature.of(self._model.card)

    def _metadata(self, request: Request) -> Answer:
        return v2.describe(self._signature, request.named["model"], self._model.version)

    def _infer(self, request: Request) -> Awaitable[Answer]:
        from inference_server.protocols import infer  # with NumPy, for which the threads must have been capped

        name, version = request.named["model"], self._model.version
        return self._ask(request, lambda: infer.read(request.body, request.headers, self._signature, name, version))

    def _status(self, request: Request) -> Answer:
        return v1.describe(request.named["model"], self._model.version)

    def _predict(self, request: Request) -> Awaitable[Answer]:
        return self._ask(request, lambda: v1.read(request.body, self._signature))

    def _invoke(self, request: Request) -> Awaitable[Answer]:
        return self._ask(request, lambda: mlflow.read(request.body, request.headers, self._signature))

    def _ask(self, request: Request, read: Callable[[], Asked]) -> Awaitable[Answer]:
        asked: list[Asked] = []

        def rows() -> Sequence[Any]:
            asked.append(read())
            return self._model.family.parse(asked[0].data)

        def answer(outputs: Outputs) -> Answer:
            return asked[0].reply(self._model.rendered(outputs))

        return self._predictor.answer(request, rows, answer)

    def _models(self, request: Request) -> Answer:
        return openai.models(self._model.names[:1] if self._signature.generates else (), self._created)

    def _one_model(self, request: Request) -> Answer:
        return openai.model(request.named["model"], self._created)


def _is_ready(request: Request) -> Answer:
    return Answer.json(200, {"name": request.named["model"], "ready": True})
