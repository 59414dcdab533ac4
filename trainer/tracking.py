"""Tracking: the one place that asks things of MLflow, patiently while it is away."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from trainer.addresses import shown
from trainer.ending import TrackingUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0  # seconds between attempts, doubling
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # `attempt` retries, and says so in the log
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Tracking:
    """An MLflow server. `client` is MLflow's own and raises at once; `attempt` is patient.

    Building one imports mlflow, which takes more than a second.
    """

    def __init__(self, uri: str, patience_seconds: float) -> None:
        os.environ.update(_ENVIRONMENT)
        import mlflow

        logging.getLogger("mlflow").setLevel(logging.ERROR)
        mlflow.set_tracking_uri(uri)
        self.client: Any = mlflow.MlflowClient(uri)
        self.shown = shown(uri)
        self.patience = patience_seconds

    def attempt(self, purpose: str, call: Callable[[], T]) -> T:
        """What `call` returns; while MLflow is away it is called again, so it must bear being called twice.

        Raises `TrackingUnavailable` once MLflow was away for `patience` seconds, or at once if it refuses.
        """
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return call()
            except outages() as error:
                if not is_passing(error):
                    raise self.refused(purpose, error) from error
                if time.monotonic() + pause > began + self.patience:
                    raise self.away(purpose, time.monotonic() - began) from error
                if pause == FIRST_PAUSE:
                    log.info("MLflow at %s does not answer (%s); trying again.", self.shown, purpose)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def away(self, purpose: str, seconds: float) -> TrackingUnavailable:
        tried = f"MLflow at {self.shown} did not answer for {seconds:.0f} s ({purpose})"
        return TrackingUnavailable(f"{tried}. What was learnt is kept; the same task resumes once MLflow is back.")

    def refused(self, purpose: str, error: BaseException) -> TrackingUnavailable:
        reason = " ".join(str(error).split())[:300]
        return TrackingUnavailable(f"MLflow at {self.shown} refused ({purpose}): {reason}")


def outages() -> tuple[type[Exception], ...]:
    """What MLflow's client raises, whether the server is away or refuses; requests' errors are OSErrors."""
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later: the server is away or overloaded, and does not refuse."""
    if hasattr(error, "get_http_status_code"):
        status = int(error.get_http_status_code())
    else:
        status = int(getattr(getattr(error, "response", None), "status_code", _SERVER_ERROR))
    return status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
