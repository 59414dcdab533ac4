"""The client: a gateway's verbs as Python methods."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Self, TypeVar, Unpack

from modelyard import outcomes, requests
from modelyard.errors import Conflict, NotFound
from modelyard.logs import LogFollower, lines_of
from modelyard.predicting import Predicting
from modelyard.records import Deployment, DeploymentStatus, Job, JobStatus, Kind, Profile
from modelyard.requests import DeploymentRequest, TrainingRequest, deployment_body, training_body
from modelyard.transport import Repeat, Transport, segment
from modelyard.waiting import wait_until

DEFAULT_URL = "http://127.0.0.1:8000"
PAGE_SIZE = 500

_API = "/api/v1"
_PATHS = {Kind.JOB: f"{_API}/train/jobs", Kind.DEPLOYMENT: f"{_API}/inference/deployments"}
_RECORDS: Mapping[Kind, type[Job | Deployment]] = {Kind.JOB: Job, Kind.DEPLOYMENT: Deployment}

Status = TypeVar("Status", JobStatus, DeploymentStatus)


class Client(Predicting):
    """A gateway, at `url`, else at the environment's MODELYARD_URL, else on this machine. Thread-safe.

    `timeout`, in seconds, is for one answer. What may safely be sent again (reading, deleting, scaling, and submitting,
    which the task id makes idempotent) is repeated up to `retries` times with growing pauses. Waiting and following
    put up with a gateway that is away for `patience` seconds. Every method raises `ModelyardError`. Close it, or use
    it in a `with` statement.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 5,
        patience: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        url = url or os.environ.get("MODELYARD_URL") or DEFAULT_URL
        self._transport = Transport(url, timeout=timeout, retries=retries, patience=patience, sleep=sleep)

    @property
    def url(self) -> str:
        """The gateway's address, without a password."""
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Submitting

    def train(self, **request: Unpack[TrainingRequest]) -> Job:
        """Start a training job; `TrainingRequest` says what can be asked for. Idempotent for one task id."""
        body = training_body(request)
        return Job.from_json(self._transport.json("POST", _PATHS[Kind.JOB], body=body))

    def deploy(self, **request: Unpack[DeploymentRequest]) -> Deployment:
        """Serve a model; `DeploymentRequest` says what can be asked for. Idempotent for one task id."""
        body = deployment_body(request)
        return Deployment.from_json(self._transport.json("POST", _PATHS[Kind.DEPLOYMENT], body=body))

    def plan_training(self, **request: Unpack[TrainingRequest]) -> Mapping[str, Any]:
        """What `train` would launch (a command, or a manifest), launching nothing."""
        return self._plan(Kind.JOB, training_body(request))

    def plan_deployment(self, **request: Unpack[DeploymentRequest]) -> Mapping[str, Any]:
        """What `deploy` would launch (a command, or a manifest), launching nothing."""
        return self._plan(Kind.DEPLOYMENT, deployment_body(request))

    # Asking

    def job(self, task_id: str) -> Job:
        return Job.from_json(self._transport.get(_path(Kind.JOB, task_id)))

    def jobs(
        self, *, status: str | None = None, experiment_name: str | None = None, model_profile: str | None = None
    ) -> Iterator[Job]:
        """All jobs, or those that match, read page by page as they are taken."""
        filters = {"status": status, "experimentName": experiment_name, "modelProfile": model_profile}
        return map(Job.from_json, self._pages(Kind.JOB, filters))

    def deployment(self, task_id: str) -> Deployment:
        return Deployment.from_json(self._transport.get(_path(Kind.DEPLOYMENT, task_id)))

    def deployments(self, *, status: str | None = None, model_profile: str | None = None) -> Iterator[Deployment]:
        """All deployments, or those that match, read page by page as they are taken."""
        filters = {"status": status, "modelProfile": model_profile}
        return map(Deployment.from_json, self._pages(Kind.DEPLOYMENT, filters))

    def find(self, task_id: str, kind: Kind | None = None) -> Job | Deployment:
        """The job or the deployment of that name; `Conflict` if there are both and `kind` does not say which."""
        if kind:
            return self._get(kind, task_id)
        found = [thing for kind in Kind if (thing := self._look(kind, task_id))]
        if len(found) > 1:
            raise Conflict(f"{task_id!r} is a job and a deployment: say which kind you mean.", code="ambiguous")
        if not found:
            raise NotFound(f"There is no job and no deployment {task_id!r}.", code="not-found", status=404)
        return found[0]

    def status(self, task_id: str, kind: Kind | None = None) -> JobStatus | DeploymentStatus:
        """How the job or the deployment of that name stands."""
        return self.find(task_id, kind).status

    def logs(
        self,
        task_id: str,
        kind: Kind | None = None,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: int | str | None = None,
        replica: int = 0,
    ) -> Iterator[str]:
        """Lines of the log: the last `tail`, or those written `since` (seconds ago, or an RFC 3339 time), or all.

        With `follow`, also those to come, each once, until the log is complete; a broken connection is made again.
        `replica` is for deployments.
        """
        kind = kind or self.find(task_id).kind
        path = f"{_path(kind, task_id)}/logs"
        start = {name: value for name, value in (("tail", tail), ("since", since)) if value is not None}
        place = {"replica": replica} if kind is Kind.DEPLOYMENT else {}
        if follow:
            return iter(LogFollower(self._transport, path, place, start))
        return iter(lines_of(self._transport.request("GET", path, params={**place, **start}).text))

    def profiles(self) -> list[Profile]:
        """The kinds of model that this gateway can train and serve."""
        return [Profile.from_json(item) for item in _items(self._transport.get(f"{_API}/profiles"))]

    def capabilities(self) -> Mapping[str, Any]:
        """What this gateway runs on: its runtime, its MLflow."""
        return self._transport.get(f"{_API}/capabilities")

    # Waiting

    def wait_for_job(
        self,
        task_id: str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[JobStatus], None] | None = None,
        check: bool = True,
    ) -> JobStatus:
        """The status of a job that has ended: well, or else `TaskFailed` is raised, unless `check` is off.

        Survives a restart of the gateway. `TimedOut` after `timeout` seconds.
        """
        ask = partial(self._ask_status, JobStatus, Kind.JOB, task_id)
        status = self._wait(task_id, ask, attrgetter("is_final"), timeout, on_progress)
        if check:
            outcomes.check(task_id, status)
        return status

    def wait_for_deployment(
        self,
        task_id: str,
        timeout: float | None = None,
        *,
        on_progress: Callable[[DeploymentStatus], None] | None = None,
        check: bool = True,
    ) -> DeploymentStatus:
        """The status of a deployment with all replicas ready; `TaskFailed` if it failed, unless `check` is off.

        Survives a restart of the gateway. `TimedOut` after `timeout` seconds.
        """
        ask = partial(self._ask_status, DeploymentStatus, Kind.DEPLOYMENT, task_id)
        status = self._wait(task_id, ask, attrgetter("is_settled"), timeout, on_progress)
        if check:
            outcomes.check(task_id, status)
        return status

    def wait_until_deleted(self, task_id: str, kind: Kind, timeout: float | None = None) -> None:
        """Wait until a deployment is gone, or a job has ended."""
        if kind is Kind.JOB:
            self.wait_for_job(task_id, timeout, check=False)
            return
        try:
            ask = partial(self._ask_status, DeploymentStatus, kind, task_id)
            self._wait(task_id, ask, lambda _: False, timeout, None)
        except NotFound:
            return

    # Changing

    def scale(self, task_id: str, replicas: int) -> Deployment:
        """Run a deployment in that many replicas."""
        return self.update(task_id, replicas=replicas)

    def update(self, task_id: str, **change: Unpack[requests.DeploymentChange]) -> Deployment:
        """Serve another model, named as in `deploy`: it is rolled out while the present one goes on serving."""
        body = requests.change_body(change)
        return Deployment.from_json(self._transport.json("PATCH", _path(Kind.DEPLOYMENT, task_id), body=body))

    def delete(self, task_id: str, kind: Kind | None = None) -> Job | Deployment:
        """Stop a job (it stays listed), or remove a deployment. Harmless when repeated.

        Returns once the wish is kept; `wait_until_deleted` waits until it has come true.
        """
        kind = kind or self.find(task_id).kind
        return _RECORDS[kind].from_json(self._transport.json("DELETE", _path(kind, task_id)))

    def _plan(self, kind: Kind, body: Mapping[str, Any]) -> Mapping[str, Any]:
        content = self._transport.json("POST", _PATHS[kind], params={"dryRun": "true"}, body=body)
        return content if isinstance(content, dict) else {}

    def _get(self, kind: Kind, task_id: str) -> Job | Deployment:
        return _RECORDS[kind].from_json(self._transport.get(_path(kind, task_id)))

    def _look(self, kind: Kind, task_id: str) -> Job | Deployment | None:
        try:
            return self._get(kind, task_id)
        except NotFound:
            return None

    def _pages(self, kind: Kind, filters: Mapping[str, str | None]) -> Iterator[Any]:
        params = {"pageSize": PAGE_SIZE, **{name: value for name, value in filters.items() if value is not None}}
        token: str | None = ""
        while token is not None:
            page = self._transport.get(_PATHS[kind], params=params | ({"pageToken": token} if token else {}))
            yield from _items(page)
            token = page.get("nextPageToken") or None

    def _ask_status(self, form: type[Status], kind: Kind, task_id: str, seconds_left: float) -> Status:
        timeout = min(self._transport.timeout, max(seconds_left, 1.0))
        path = f"{_path(kind, task_id)}/status"
        return form.from_json(self._transport.get(path, repeat=Repeat.NEVER, timeout=timeout))

    def _wait(
        self,
        task_id: str,
        ask: Callable[[float], Status],
        done: Callable[[Status], bool],
        timeout: float | None,
        on_progress: Callable[[Status], None] | None,
    ) -> Status:
        return wait_until(
            ask,
            done,
            timeout=timeout,
            patience=self._transport.patience,
            late=partial(outcomes.late, task_id, timeout),
            on_progress=on_progress,
            sleep=self._transport.sleep,
        )


def _path(kind: Kind, task_id: str) -> str:
    return f"{_PATHS[kind]}/{segment(task_id)}"


def _items(page: Mapping[str, Any]) -> list[Any]:
    items = page.get("items")
    return items if isinstance(items, list) else []
