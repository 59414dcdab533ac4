"""Batching: requests that wait together are predicted together, as many as the model's measured cost makes worthwhile.

Nobody waits for company that is not there: a batch is gathered only while turns of the event loop go on bringing
requests, and no longer than a call of the model costs whatever its size. So waiting never costs more than it can save
(the ski rental argument). While a batch is computed, the next one gathers by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any, TypeVar

from inference_server.cost import Cost
from inference_server.prediction import Prediction
from inference_server.problems import DeadlinePassed, TooBusy
from inference_server.worker import Worker, attempted

INLINE_SECONDS = 0.002  # what the event loop may be kept from its sockets; a thread costs a tenth of it to reach
MOST_WAITING = 1024  # requests
WORTHWHILE = 10  # times a call's own cost: what the rows of a batch may cost together
FEW_ROWS = 32  # are always allowed, as a cost that is measured is never exact

Outputs = Sequence[Any]
Result = TypeVar("Result")


class RowsMiscounted(Exception):  # noqa: N818
    """The model did not give one output a row."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What batching may do: `seconds` is the most that neighbours may add to a request's latency."""

    rows: int = 1024
    seconds: float = 0.05
    waiting: int = MOST_WAITING


class Batcher:
    """The queue before a model. Call from the event loop only; `predict` runs in one thread at a time.

    A cheap batch is predicted in the event loop, a costly one in the worker's thread.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Any]], Outputs],
        worker: Worker,
        bounds: Bounds | None = None,
        cost: Cost | None = None,
    ) -> None:
        self._predict = predict
        self._worker = worker
        self._bounds = bounds or Bounds()
        self._queue: deque[Prediction[Any]] = deque()
        self._awake = False  # a turn is coming, or a batch is computed
        self._seen = 0
        self._until = 0.0
        self._most_rows = self._bounds.rows
        self._cost = cost or Cost()

    def submit(
        self, rows: Sequence[Any], finish: Callable[[Outputs], Result], deadline: float | None = None
    ) -> Prediction[Result]:
        """`finish` of the outputs for these rows, of which there is one at least. It runs where the prediction ran.

        It comes to `DeadlinePassed`, `RowsMiscounted`, or what the model or `finish` raised; cancel it, and the rows
        are not computed if they still wait. Raises `TooBusy` rather than queue without end.
        """
        return self._add(rows, finish, deadline)

    def run(self, work: Callable[[], Result]) -> Prediction[Result]:
        """`work`, in the worker's thread and in its turn between batches: it has the model to itself."""
        return self._add((), lambda _: work(), None, alone=True)

    def _add(
        self, rows: Sequence[Any], finish: Callable[[Outputs], Result], deadline: float | None, alone: bool = False
    ) -> Prediction[Result]:
        if len(self._queue) >= self._bounds.waiting:
            raise TooBusy(f"{len(self._queue)} requests wait for the model already. Try again shortly.")
        asked = Prediction(rows, finish, deadline, alone)
        self._queue.append(asked)
        if not self._awake:
            self._gather()
        return asked

    def _gather(self) -> None:
        self._awake = True
        self._seen = 1  # one request alone is not made to wait for another turn
        self._until = perf_counter() + min(self._cost.fixed, self._bounds.seconds)
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        waiting = len(self._queue)
        if self._seen < waiting < self.most_rows and perf_counter() < self._until:
            self._seen = waiting
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._go()

    def _go(self) -> None:
        batch = self._take()
        if not batch:
            self._awake = False
        elif not batch[0].alone and self._cost.expected(sum(len(asked.rows) for asked in batch)) <= INLINE_SECONDS:
            _deliver(batch, self._compute(batch))
            self._next()
        else:
            self._worker.start(partial(self._compute, batch)).add_done_callback(partial(self._computed, batch))

    def _computed(self, batch: Sequence[Prediction[Any]], outcomes: asyncio.Future[Sequence[Any]]) -> None:
        _deliver(batch, outcomes.result())
        self._next()

    def _next(self) -> None:
        if self._queue:
            self._gather()
        else:
            self._awake = False

    @property
    def most_rows(self) -> int:
        """Rows of a batch of several requests: it grows by doubling, as far as the cost so far and the bounds allow.

        Beyond the point where a call's own cost is lost among that of its rows, company only makes everyone wait.
        """
        if not self._bounds.seconds:
            return 1
        most = min(self._most_rows, 2 * self._cost.largest)
        if each := self._cost.each:
            worthwhile = max(FEW_ROWS, WORTHWHILE * self._cost.fixed / each)
            most = min(most, 1 + self._bounds.seconds / each, worthwhile)
        return max(1, int(most))

    def _take(self) -> list[Prediction[Any]]:
        """The next batch, without what was given up or is overdue. A request is never split."""
        queue, now = self._queue, asyncio.get_running_loop().time()
        most = self.most_rows if len(queue) > 1 else 1
        batch: list[Prediction[Any]] = []
        rows = 0
        while queue:
            asked = queue[0]
            if asked.done:
                queue.popleft()
            elif asked.deadline is not None and asked.deadline <= now:
                queue.popleft().settle(DeadlinePassed("The deadline passed while the request waited for the model."))
            elif batch and (asked.alone or batch[0].alone or rows + len(asked.rows) > most):
                break
            else:
                batch.append(queue.popleft())
                rows += len(asked.rows)
        return batch

    def _compute(self, batch: Sequence[Prediction[Any]]) -> list[Any]:
        """For each request its result, or the exception that it is answered with."""
        if batch[0].alone:
            return [attempted(batch[0].finish, ())]
        start = self._cost.clock()
        rows = batch[0].rows if len(batch) == 1 else list(chain.from_iterable([asked.rows for asked in batch]))
        outputs = attempted(counted, self._predict, rows)
        if isinstance(outputs, Exception):
            return [outputs] if len(batch) == 1 else self._compute_singly(batch, len(rows))
        outcomes = _finished(batch, outputs) if len(batch) > 1 else [attempted(batch[0].finish, outputs)]
        self._cost.note(len(rows), self._cost.clock() - start)
        return outcomes

    def _compute_singly(self, batch: Iterable[Prediction[Any]], rows: int) -> list[Any]:
        """The model failed on all of them together: whose rows were at fault shows when each is alone."""
        outcomes = [self._compute([asked])[0] for asked in batch]
        if not any(isinstance(outcome, Exception) for outcome in outcomes):  # nobody's fault: it was too much at once
            self._most_rows = max(1, rows // 2)
        return outcomes


def counted(predict: Callable[[Sequence[Any]], Outputs], rows: Sequence[Any]) -> Outputs:
    """The outputs for `rows`, held to be one a row. Raises `RowsMiscounted`, and what `predict` raises."""
    outputs = predict(rows)
    if len(outputs) != len(rows):
        raise RowsMiscounted(f"{len(rows)} rows, {len(outputs)} outputs")
    return outputs


def _finished(batch: Sequence[Prediction[Any]], outputs: Outputs) -> list[Any]:
    outcomes: list[Any] = []
    at = 0

    def finish_the_rest() -> None:
        nonlocal at
        for asked in batch[len(outcomes) :]:
            start, at = at, at + len(asked.rows)
            outcomes.append(asked.finish(outputs[start:at]))

    while isinstance(error := attempted(finish_the_rest), Exception):
        outcomes.append(error)
    return outcomes


def _deliver(batch: Sequence[Prediction[Any]], outcomes: Sequence[Any]) -> None:
    for asked, outcome in zip(batch, outcomes, strict=True):
        asked.settle(outcome)
