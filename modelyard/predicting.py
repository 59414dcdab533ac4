"""Predicting: ask a deployed model, at once and again while it cannot answer yet, or now for an answer later."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

import httpx2

from modelyard.errors import Invalid, ModelyardError, NotReady
from modelyard.records import Prediction
from modelyard.transport import DONE, PREDICTION_STATUS, Repeat, Transport, pause, segment
from modelyard.waiting import Deadline, wait_until

ANSWER_TIMEOUT = 75.0  # seconds; the gateway's own deadline is 60, and its answer says more than ours
READY_PATIENCE = 10.0  # seconds; longer than a replica takes to come back, shorter than a person's patience
_INFERENCE = "/api/v1/inference"


class Predicting:
    """The client's verbs for predictions."""

    _transport: Transport

    def predict(
        self,
        task_id: str,
        *,
        features: object = None,
        data: Mapping[str, Any] | None = None,
        body: object = None,
        user_id: str | None = None,
        idempotent: bool = False,
        timeout: float | None = None,
        wait: float | None = None,
        on_repeat: Callable[[ModelyardError], None] | None = None,
    ) -> Any:
        """The model's answer to `features` (rows: lists, or a NumPy array), to `data`, or to a whole request `body`.

        Sent again if it certainly was not carried out; with `idempotent`, also if it may have been. `timeout`, in
        seconds, is for the whole call, repeats and waiting for a ready replica included; without it that waiting ends
        after 10 seconds (`NotReady`) and an answer may take 75. `on_repeat` is told why, each time it is sent again.

        With `wait` the gateway keeps the request: up to so many seconds it is waited for in one piece, and then asked
        for until it is there, however long the model takes, whatever restarts meanwhile. `TimedOut` after `timeout`.
        """
        content = _body(features, data, body, user_id)
        if wait is not None:
            response = self._submit(task_id, content, wait, None)
            if not _is_done(response):
                response = self._collect(_id(response), timeout)
            return self._transport.content(response)
        repeat = Repeat.ALWAYS if idempotent else Repeat.UNTOUCHED
        return predict(self._transport, _path(task_id), content, repeat=repeat, timeout=timeout, on_repeat=on_repeat)

    def predict_async(
        self,
        task_id: str,
        *,
        features: object = None,
        data: Mapping[str, Any] | None = None,
        body: object = None,
        user_id: str | None = None,
        wait: float = 0,
        idempotency_key: str | None = None,
    ) -> Prediction:
        """Ask for an answer later: `result` of its `id` is what came of it. Safe to call again with the same key.

        Returns when the request is kept, or after at most `wait` seconds if its answer is there by then.
        """
        response = self._submit(task_id, _body(features, data, body, user_id), wait, idempotency_key)
        if _is_done(response):
            return Prediction(id=_id(response), task_id=task_id, is_done=True)
        return Prediction.from_json(self._transport.content(response))

    def result(self, id: str, timeout: float | None = None) -> Any:
        """The answer to a prediction that was asked for with `predict_async`; the same each time, until it expires.

        Waits for it `timeout` seconds (0 asks once, None as long as it takes), then raises `TimedOut`. A failure is
        raised as `predict` would raise it; `NotFound` if there is no such prediction, or it has expired.
        """
        return self._transport.content(self._collect(id, timeout))

    def _submit(self, task_id: str, body: object, wait: float, key: str | None) -> httpx2.Response:
        headers = {
            "prefer": f"respond-async, wait={max(0, round(wait))}",
            "idempotency-key": key or uuid.uuid4().hex,
        }
        timeout = self._transport.timeout + wait
        return self._transport.request("POST", _path(task_id), body=body, headers=headers, timeout=timeout)

    def _collect(self, id: str, timeout: float | None) -> httpx2.Response:
        def ask(seconds_left: float) -> httpx2.Response:
            longest = min(self._transport.timeout, max(seconds_left, 1.0))
            return self._transport.request(
                "GET", f"{_INFERENCE}/result/{segment(id)}", repeat=Repeat.NEVER, timeout=longest
            )

        return wait_until(
            ask,
            _is_done,
            timeout=timeout,
            patience=self._transport.patience,
            late=partial(_late, id),
            on_progress=None,
            sleep=self._transport.sleep,
        )


def predict(
    transport: Transport,
    path: str,
    body: object,
    *,
    repeat: Repeat,
    timeout: float | None,
    on_repeat: Callable[[ModelyardError], None] | None,
) -> Any:
    """The model's answer, within `timeout` seconds, repeats included.

    Without a timeout, ANSWER_TIMEOUT, of which the first READY_PATIENCE may go into waiting for a ready replica.
    """
    whole = Deadline(ANSWER_TIMEOUT if timeout is None else timeout)
    patience = Deadline(READY_PATIENCE if timeout is None else timeout)
    for attempt in count():
        try:
            return transport.json("POST", path, body=body, repeat=repeat, deadline=whole, on_repeat=on_repeat)
        except NotReady as error:
            rest = max(pause(attempt), error.retry_after or 0.0)
            if error.retryable is False or rest >= patience.remaining:
                raise
            if on_repeat:
                on_repeat(error)
            transport.sleep(rest)
    raise AssertionError("unreachable: the loop ends by answer or by error")


def _body(features: object, data: Mapping[str, Any] | None, body: object, user_id: str | None) -> object:
    if sum(given is not None for given in (features, data, body)) != 1:
        raise Invalid("Give one of features, data and body.", code="no-input")
    if body is not None:
        return body
    user = {"userId": user_id} if user_id else {}
    return {**user, "data": {"features": features} if data is None else data}


def _path(task_id: str) -> str:
    return f"{_INFERENCE}/{segment(task_id)}/predict"


def _is_done(response: httpx2.Response) -> bool:
    return response.headers.get(PREDICTION_STATUS) == DONE


def _id(response: httpx2.Response) -> str:
    place = response.headers.get("location") or response.headers.get("content-location") or ""
    return place.rpartition("/")[2]


def _late(id: str, last: httpx2.Response | None) -> str:
    return f"Prediction {id} has no answer yet. Ask for it later: yard result {id} --wait"
