"""MLflow's REST API, the few questions that the gateway has."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx2

from app.core.errors import ModelVersionNotFound, RunHasNoModel, RunNotFound, TrackingUnavailable
from inference_server.contract import TAG as FACTS_TAG
from inference_server.contract import Facts

JOB_UID_TAG = "modelyard.job_uid"
PROFILE_TAG = "modelyard.profile"
PROGRESS_METRIC = "progress"
_DOES_NOT_EXIST = (b"RESOURCE_DOES_NOT_EXIST", b"INVALID_PARAMETER_VALUE")  # the latter for an unknown alias


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is: percent, or None before its first epoch; and the newest finite value of each metric."""

    run_id: str
    percent: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """One logged model and the run that made it; `version` is set when the registry named it.

    `profile` is the one that the run was trained with, None if the platform's trainer did not make it; `facts` are
    what was measured of the model when it was registered.
    """

    run_id: str
    logged_model_id: str
    version: str | None = None
    profile: str | None = None
    facts: Facts | None = None


class Mlflow:
    """A client for one tracking server. `client` brings base URL, timeouts and, in tests, another transport."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._experiments: dict[str, str] = {}

    @property
    def uri(self) -> str:
        return str(self._client.base_url).rstrip("/")

    async def check(self) -> None:
        """Raise `TrackingUnavailable` unless MLflow answers API calls; its /health is green even when it refuses us."""
        await self._post("experiments/search", {"max_results": 1})

    async def find_run(self, experiment: str, job_uid: str) -> RunProgress | None:
        """The run that the trainer of this job opened; None if it has not yet."""
        if (experiment_id := await self._experiment_id(experiment)) is None:
            return None
        question = {
            "experiment_ids": [experiment_id],
            "filter": f"tags.`{JOB_UID_TAG}` = '{job_uid}'",
            "max_results": 1,
        }
        runs = (await self._post("runs/search", question) or {}).get("runs", [])
        return _progress(runs[0]) if runs else None

    async def progress(self, run_id: str) -> RunProgress | None:
        """How far a run is; None if it was deleted."""
        answer = await self._get("runs/get", run_id=run_id)
        return _progress(answer["run"]) if answer else None

    async def close_run(self, run_id: str, status: Literal["FAILED", "KILLED"]) -> None:
        """Say of a run that nobody works on it any more; harmless when repeated."""
        await self._post("runs/update", {"run_id": run_id, "status": status, "end_time": int(time.time() * 1000)})

    async def model_of_run(self, run_id: str) -> ModelRef:
        """The one model that a run logged. Raises `RunNotFound`, `RunHasNoModel`."""
        answer = await self._get("runs/get", run_id=run_id)
        if answer is None:
            raise RunNotFound(run_id)
        outputs = answer["run"].get("outputs", {}).get("model_outputs", [])
        if not outputs:
            status = answer["run"]["info"].get("status", "unknown").lower()
            raise RunHasNoModel(run_id, f"Run {run_id!r} ({status}) has logged no model that could be served.")
        tags = _tags(answer["run"]["data"])
        facts = Facts.from_tag(tags.get(FACTS_TAG))
        return ModelRef(run_id, outputs[-1]["model_id"], profile=tags.get(PROFILE_TAG), facts=facts)

    async def model_version(self, name: str, *, alias: str | None, version: str | None) -> ModelRef:
        """The model behind a registry alias or version. Raises `ModelVersionNotFound`, `RunHasNoModel`."""
        if alias is not None:
            answer = await self._get("registered-models/alias", name=name, alias=alias)
            wanted, pointer = f"alias {alias!r}", "/alias"
        else:
            answer = await self._get("model-versions/get", name=name, version=version)
            wanted, pointer = f"version {version}", "/version"
        if answer is None:
            raise ModelVersionNotFound(name, wanted, pointer)
        found = answer["model_version"]
        model = await self.model_of_run(found.get("run_id") or "")
        return replace(
            model,
            version=str(found["version"]),
            logged_model_id=found.get("model_id") or model.logged_model_id,
            facts=Facts.from_tag(_tags(found).get(FACTS_TAG)) or model.facts,
        )

    async def _experiment_id(self, name: str) -> str | None:
        if name not in self._experiments:
            answer = await self._get("experiments/get-by-name", experiment_name=name)
            if answer is None:
                return None
            self._experiments[name] = answer["experiment"]["experiment_id"]
        return self._experiments[name]

    async def _get(self, route: str, **parameters: str | None) -> dict[str, Any] | None:
        with _translated():
            return _answer(await self._client.get(f"/api/2.0/mlflow/{route}", params=parameters))

    async def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        with _translated():
            return _answer(await self._client.post(f"/api/2.0/mlflow/{route}", json=body))


def _answer(response: httpx2.Response) -> dict[str, Any] | None:
    """The answer's object; None where MLflow says that the thing does not exist."""
    if response.status_code == 200:
        content: dict[str, Any] = response.json()
        return content
    if response.status_code in (400, 404) and any(code in response.content for code in _DOES_NOT_EXIST):
        return None
    raise TrackingUnavailable(f"MLflow answered {response.status_code}: {response.text[:200]}")


def _tags(holder: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in holder.get("tags", [])}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx2.HTTPError as error:
        raise TrackingUnavailable(f"{type(error).__name__}: {error}") from error
    except (ValueError, KeyError) as error:
        raise TrackingUnavailable(f"MLflow's answer is not what we know: {error!r}") from error


def _progress(run: Mapping[str, Any]) -> RunProgress:
    metrics = {m["key"]: float(m["value"]) for m in run["data"].get("metrics", [])}
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    percent = finite.pop(PROGRESS_METRIC, None)
    return RunProgress(run["info"]["run_id"], None if percent is None else min(100.0, max(0.0, percent)), finite)
