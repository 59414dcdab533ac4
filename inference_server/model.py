"""The model that is served: fetched, checked, loaded and warmed up; then it answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_server.batching import RowsMiscounted, counted
from inference_server.cache import ModelCache
from inference_server.card import CardUnreadable, ModelCard
from inference_server.contract import ServerInput
from inference_server.cost import Cost
from inference_server.families.base import Family, InputUnreadable, ModelUnreadable, Writes, load_family, served
from inference_server.problems import NotReady
from inference_server.rest import RestClient
from inference_server.tracking import DIGEST_TAG, LoggedModel, Tracking

log = logging.getLogger(__name__)

REHEARSED = 8  # times the input example, so that the first requests find the cost of one more row known
REHEARSAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Phase:
    """What the server is doing: a stable word, and a sentence."""

    reason: str
    message: str


READY = Phase("Ready", "The model has predicted its input example.")


class ServedModel:
    """`prepare` runs once, in the worker's thread. What needs a prepared model raises `RuntimeError` before."""

    def __init__(self, letter: ServerInput) -> None:
        self._letter = letter
        self._family: Family | None = None
        self._writes: Writes | None = None
        self._card: ModelCard | None = None
        self._logged: LoggedModel | None = None
        self._seconds: dict[str, float] = {}
        # Of a prediction, by its rows. A thread that waits for a GPU takes no time of its own.
        self.cost = Cost(time.perf_counter) if letter.use_gpu else Cost()
        self.reading_seconds = 0.0  # what it takes to make rows of the input example
        self._cache = ModelCache(Path(letter.model_cache), letter.model_cache_bytes, self._notice_fetching)
        self.phase = Phase("Starting", "The server starts.")

    @property
    def is_ready(self) -> bool:
        return self.phase is READY

    def prepare(self) -> None:
        """Raises `ModelUnreadable`, `Unavailable`, `Unwritable`, or whatever a broken model raises while it loads."""
        with self._step("fetch", Phase("Fetching", f"Asking MLflow for the model of run {self._letter.run_id}.")):
            directory = self._fetch()
        with self._step("load", Phase("Loading", "Loading the model's files.")):
            self._card = self._read_card(directory)
            self._family = self._load(directory, self._card)
            self._writes = self._family if isinstance(self._family, Writes) else None
        with self._step("warmUp", Phase("WarmingUp", "Predicting the model's input example.")):
            self._warm_up(self._card)
        self.phase = READY
        took = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self._seconds.items())
        log.info("Ready: model %s, run %s (%s).", self._letter.model_id, self._letter.run_id, took)

    @property
    def family(self) -> Family:
        """The loaded model. Its `parse` and `render` may be called while `predict` runs in another thread."""
        if self._family is None:
            raise RuntimeError("the model is not prepared")
        return self._family

    @property
    def writes(self) -> Writes | None:
        """The family, if it can be answered while it writes."""
        return self._writes

    @property
    def card(self) -> ModelCard:
        if self._card is None:
            raise RuntimeError("the model is not prepared")
        return self._card

    @property
    def names(self) -> tuple[str, ...]:
        """What callers may call the model; the first is its own."""
        return tuple(dict.fromkeys((self._letter.model_id, self._letter.task_id)))

    @property
    def version(self) -> str:
        """The run that made it."""
        return self._letter.run_id

    def require_ready(self) -> None:
        """Raises `NotReady`, with what the model is waiting for."""
        if not self.is_ready:
            raise NotReady(f"{self.phase.reason}: {self.phase.message}")

    def predict(self, rows: Sequence[Any]) -> Sequence[Any]:
        """One output a row; whoever asks counts them."""
        return self.family.predict(rows)

    def rendered(self, outputs: Sequence[Any]) -> Mapping[str, Any]:
        """The answer's fields. Raises `RowsMiscounted` if there is not one prediction an output."""
        answer = self.family.render(outputs)
        if len(answer["predictions"]) != len(outputs):
            raise RowsMiscounted(f"{len(outputs)} outputs, {len(answer['predictions'])} predictions")
        return answer

    def describe(self) -> Mapping[str, Any]:
        """What is served, as JSON values. Call when ready."""
        card, logged = self._card, self._logged
        if card is None or logged is None:
            raise RuntimeError("describe was called before prepare")
        form, reason = served(self.family, card, self._device)
        return {
            "taskId": self._letter.task_id,
            "modelId": self._letter.model_id,
            "runId": self._letter.run_id,
            "loggedModelId": logged.model_id,
            "digest": logged.digest,
            "family": card.family,
            "target": card.target,
            "classes": card.classes,
            "details": card.details,
            "inputExample": card.input_example,
            "served": form,
            "reason": reason,
            "compiled": card.compiled,
            "seconds": self._seconds,
        }

    @property
    def _device(self) -> str:
        return "cuda" if self._letter.use_gpu else "cpu"

    @contextmanager
    def _step(self, name: str, phase: Phase) -> Iterator[None]:
        self.phase = phase
        log.info(phase.message)
        start = time.monotonic()
        yield
        self._seconds[name] = round(time.monotonic() - start, 3)

    def _fetch(self) -> Path:
        client = RestClient(self._letter.tracking_uri, self._letter.tracking_patience_seconds, self._notice_fetching)
        tracking = Tracking(client, self._notice_fetching)
        logged = self._logged = tracking.logged_model(self._letter.run_id, self._letter.logged_model_id)
        if logged.digest is None:
            raise ModelUnreadable(
                f"Nobody wrote down what the model's files were when they were logged (there is no tag {DIGEST_TAG}), "
                "so they cannot be checked; they are refused."
            )
        return self._cache.fetched(logged.digest, lambda *into: tracking.download(logged.artifact_uri, *into))

    def _notice_fetching(self, sentence: str) -> None:
        self.phase = Phase("Fetching", sentence)

    def _read_card(self, directory: Path) -> ModelCard:
        try:
            card = ModelCard.read(directory)
        except CardUnreadable as error:
            raise ModelUnreadable(str(error)) from error
        if card.family != self._letter.family:
            raise ModelUnreadable(f"The model is of the family {card.family}, not {self._letter.family}.")
        return card

    def _load(self, directory: Path, card: ModelCard) -> Family:
        try:
            return load_family(directory, card, self._device, self._letter.cpu_threads)
        except ModuleNotFoundError as error:
            raise ModelUnreadable(f"The model needs the package {error.name}, which is not installed here.") from error

    def _warm_up(self, card: ModelCard) -> None:
        try:
            self.family.parse(card.input_example)
            start = time.thread_time()
            rows = self.family.parse(card.input_example)
            self.reading_seconds = time.thread_time() - start
        except InputUnreadable as error:
            raise ModelUnreadable(f"The model cannot read its own input example: {error.sentence}") from error
        self._rehearse(rows)

    def _rehearse(self, rows: Sequence[Any]) -> None:
        """The first call makes what later ones find made, and is not measured, unless more would take too long."""
        for times in (0, *(1, REHEARSED) * 3):
            start = self.cost.clock()
            repeated = list(rows) * max(1, times)
            self.rendered(counted(self.predict, repeated))
            seconds = self.cost.clock() - start
            if times or seconds > REHEARSAL_SECONDS:
                self.cost.note(len(repeated), seconds)
            if seconds > REHEARSAL_SECONDS:
                return
