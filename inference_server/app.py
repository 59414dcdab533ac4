"""The HTTP side of one model: which path answers what. Protocols bring their routes; the platform's own are here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from inference_server.batching import Outputs
from inference_server.messages import Answer, Request, Route, Routes
from inference_server.model import ServedModel
from inference_server.predicting import Predictor
from inference_server.prediction import Prediction
from inference_server.problems import MediaTypeUnknown, problem_of
from inference_server.protocols.predict import read_body, write_body
from inference_server.protocols.streams import Streams
from inference_server.protocols.table import Protocols
from inference_server.worker import attempted


class InferenceApp:
    """Answers requests for one model. `routes` come besides those of all protocols (see `predicting`)."""

    def __init__(self, model: ServedModel, predictor: Predictor, routes: Iterable[Route] = ()) -> None:
        self._model = model
        self._predictor = predictor
        self._streams = Streams(model, predictor)
        self._routes = Routes()
        self._routes.add(
            Route("POST", "/predict", self._predict),
            Route("GET", "/health/live", self._live),
            Route("GET", "/health/ready", self._ready),
            Route("GET", "/model", self._describe),
            *Protocols(model, predictor, self._streams).routes(),
            *routes,
        )

    def respond(self, request: Request) -> Answer | Prediction[Answer] | asyncio.Future[Answer]:
        """Never raises; what the future raises is for `conclude`."""
        answer = attempted(self._begin, request)
        return self.conclude(request, answer) if isinstance(answer, Exception) else answer

    def conclude(self, request: Request, error: BaseException) -> Answer:
        """The answer to a request whose future raised `error`."""
        route = attempted(self._routes.find, request)
        refuse = Answer.of if isinstance(route, Exception) else route.refuse
        return refuse(problem_of(error), request.id)

    def _begin(self, request: Request) -> Answer | Prediction[Answer] | asyncio.Future[Answer]:
        if b"content-encoding" in request.headers:
            _require_plain(request)
        answer = self._routes.find(request).respond(request)
        return answer if isinstance(answer, Answer | Prediction | asyncio.Future) else asyncio.ensure_future(answer)

    def _live(self, request: Request) -> Answer:
        return Answer.json(200, {"status": "live"})

    def _ready(self, request: Request) -> Answer:
        phase = self._model.phase
        content = {"reason": phase.reason, "message": phase.message}
        if not self._model.is_ready:
            return Answer.json(503, content)
        return Answer.json(200, {**content, "seconds": self._model.describe().get("seconds", {})})

    def _describe(self, request: Request) -> Answer:
        self._model.require_ready()
        return Answer.json(200, self._model.describe())

    def _predict(self, request: Request) -> Awaitable[Answer]:
        self._model.require_ready()
        require_json(request)
        family = self._model.family
        if self._model.writes is not None:
            return asyncio.ensure_future(self._streams.predict(request, self._model.writes))
        return self._predictor.answer(request, lambda: family.parse(read_body(request.body)), self._answer)

    def _answer(self, outputs: Outputs) -> Answer:
        return Answer(200, write_body(self._model.rendered(outputs)))


_READABLE = (b"/json", b"+json", b"/x-www-form-urlencoded")


def require_json(request: Request) -> None:
    """Raises `MediaTypeUnknown` if the body says that it is anything else; it need not say, and curl says what it does
    not mean: `curl -d` calls every body a form."""
    kind = request.headers.get(b"content-type", b"application/json")
    if kind != b"application/json" and not kind.partition(b";")[0].strip().lower().endswith(_READABLE):
        raise MediaTypeUnknown(f"The body is {request.header('content-type')}; {request.path} reads application/json.")


def _require_plain(request: Request) -> None:
    coding = request.header("content-encoding")
    if coding.lower() != "identity":
        raise MediaTypeUnknown(f"The body is coded as {coding}; send it as it is.")
