"""The HTTP side of one model: which path answers what. Protocols bring their routes; the platform's own are here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from inference_server.batching import Outputs
from inference_server.families.base import InputUnreadable
from inference_server.messages import Answer, Refuse, Request, Route, Routes
from inference_server.model import ServedModel
from inference_server.predicting import Predictor
from inference_server.problems import InputRefused, MediaTypeUnknown, ModelFailed, NotReady, Problem
from inference_server.protocols import read_body, write_body
from inference_server.worker import Attempt

log = logging.getLogger(__name__)


class InferenceApp:
    """Answers requests for one model. `routes` are further protocols' (see `predicting` for what a route does)."""

    def __init__(self, model: ServedModel, predictor: Predictor, routes: Iterable[Route] = ()) -> None:
        self._model = model
        self._predictor = predictor
        self._routes = Routes()
        self._routes.add(
            Route("POST", "/predict", self._predict),
            Route("GET", "/health/live", self._live),
            Route("GET", "/health/ready", self._ready),
            Route("GET", "/model", self._describe),
            *routes,
        )

    def respond(self, request: Request) -> Answer | asyncio.Future[Answer]:
        """Never raises; what the future raises is for `conclude`."""
        refuse: Refuse = Answer.of
        with Attempt() as attempt:
            route = self._routes.find(request)
            refuse = route.refuse
            _require_plain(request)
            answer = route.respond(request)
            return answer if isinstance(answer, Answer) else asyncio.ensure_future(answer)
        assert attempt.error is not None
        return refuse(_problem(attempt.error), request.id)

    def conclude(self, request: Request, error: BaseException) -> Answer:
        """The answer to a request whose future raised `error`."""
        return self._routes.find(request).refuse(_problem(error), request.id)

    def _live(self, request: Request) -> Answer:
        return Answer.json(200, {"status": "live"})

    def _ready(self, request: Request) -> Answer:
        phase = self._model.phase
        content = {"reason": phase.reason, "message": phase.message}
        if not self._model.is_ready:
            return Answer.json(503, content)
        return Answer.json(200, {**content, "seconds": self._model.describe().get("seconds", {})})

    def _describe(self, request: Request) -> Answer:
        require_ready(self._model)
        return Answer.json(200, self._model.describe())

    def _predict(self, request: Request) -> asyncio.Future[Answer]:
        require_ready(self._model)
        require_json(request)
        family = self._model.family
        return self._predictor.answer(request, lambda: family.parse(read_body(request.body)), self._answer)

    def _answer(self, outputs: Outputs) -> Answer:
        return Answer(200, write_body(self._model.rendered(outputs)))


def require_ready(model: ServedModel) -> None:
    """Raises `NotReady`, with what the model is waiting for."""
    if not model.is_ready:
        raise NotReady(f"{model.phase.reason}: {model.phase.message}")


def require_json(request: Request) -> None:
    """Raises `MediaTypeUnknown` if the body says that it is anything else; it need not say."""
    kind = request.headers.get(b"content-type", b"application/json")
    if kind != b"application/json" and not kind.partition(b";")[0].strip().lower().endswith((b"/json", b"+json")):
        raise MediaTypeUnknown(f"The body is {request.header('content-type')}; {request.path} reads application/json.")


def _require_plain(request: Request) -> None:
    coding = request.headers.get(b"content-encoding", b"identity")
    if coding.lower() != b"identity":
        raise MediaTypeUnknown(f"The body is coded as {request.header('content-encoding')}; send it as it is.")


def _problem(error: BaseException) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, InputUnreadable):
        return InputRefused.of(error)
    log.error("The model failed on a request.", exc_info=error)
    return ModelFailed("The model failed on this input; the server's log says why.")
