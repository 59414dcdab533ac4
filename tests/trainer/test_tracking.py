"""Tracking: patience while MLflow is away, none when it refuses, and metrics that wait until it takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, RESOURCE_DOES_NOT_EXIST

from trainer.ending import TrackingUnavailable
from trainer.journal import Entry
from trainer.metrics import BATCH, MetricSender
from trainer.tracking import Tracking

AWAY = MlflowException("connection refused", INTERNAL_ERROR)
REFUSED = MlflowException("there is no such run", RESOURCE_DOES_NOT_EXIST)


class Trouble:
    """A call, or a client's log_batch, that raises these errors one after the other and works then."""

    def __init__(self, *errors: Exception, forever: bool = False) -> None:
        self._errors = list(errors)
        self._forever = forever
        self.batches: list[list[Any]] = []

    def __call__(self) -> str:
        if self._errors:
            raise self._errors[0] if self._forever else self._errors.pop(0)
        return "done"

    def log_batch(self, run_id: str, metrics: Sequence[Any]) -> None:
        self()
        self.batches.append(list(metrics))


def tracking(patience: float, client: object = None) -> Tracking:
    built = Tracking("http://user:secret@127.0.0.1:1", patience)
    built.client = client
    return built


def entry(epoch: int, metrics: int = 2) -> Entry:
    return Entry(epoch, 1000 + epoch, {f"m{number}": float(epoch) for number in range(metrics)})


def test_a_call_is_tried_again_while_mlflow_is_away() -> None:
    assert tracking(10).attempt("a test", Trouble(AWAY, ConnectionError("reset"))) == "done"


def test_patience_ends_with_a_sentence_without_secrets() -> None:
    with pytest.raises(TrackingUnavailable) as ended:
        tracking(0).attempt("a test", Trouble(AWAY, forever=True))
    assert str(ended.value).startswith("MLflow at http://127.0.0.1:1 did not answer for 0 s (a test).")


def test_a_refusal_is_not_tried_again() -> None:
    with pytest.raises(TrackingUnavailable, match=r"refused \(a test\): there is no such run"):
        tracking(10).attempt("a test", Trouble(REFUSED))


def test_metrics_arrive_once_and_in_order_after_an_outage() -> None:
    client = Trouble(AWAY)
    sender = MetricSender(tracking(10, client), "run")
    for epoch in (1, 2, 3):
        sender.send(entry(epoch))
    sender.flush()
    assert [(m.key, m.step, m.timestamp) for batch in client.batches for m in batch] == [
        (key, epoch, 1000 + epoch) for epoch in (1, 2, 3) for key in ("m0", "m1")
    ]


def test_an_epoch_s_metrics_arrive_together_and_no_batch_is_too_large() -> None:
    client = Trouble(AWAY)  # the first attempt fails, so all wait for the second
    sender = MetricSender(tracking(10, client), "run")
    for epoch in range(1, 6):
        sender.send(entry(epoch, metrics=400))
    sender.flush()
    assert all(len(batch) <= BATCH for batch in client.batches)
    epochs = [sorted({metric.step for metric in batch}) for batch in client.batches]
    assert sorted(step for steps in epochs for step in steps) == [1, 2, 3, 4, 5]


def test_metrics_that_cannot_be_sent_in_time_are_an_error() -> None:
    sender = MetricSender(tracking(0, Trouble(AWAY, forever=True)), "run")
    sender.send(entry(1))
    with pytest.raises(TrackingUnavailable, match="metrics were to be logged"):
        sender.flush()


def test_metrics_that_are_refused_are_an_error_at_once() -> None:
    sender = MetricSender(tracking(60, Trouble(REFUSED, forever=True)), "run")
    sender.send(entry(1))
    with pytest.raises(TrackingUnavailable, match="there is no such run"):
        sender.flush()
    with pytest.raises(TrackingUnavailable, match="there is no such run"):
        sender.send(entry(2))
