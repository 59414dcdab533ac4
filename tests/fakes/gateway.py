"""A gateway that speaks the API's contract over real loopback HTTP and remembers, with faults on demand."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any, Self

from tests.fakes.gateway_http import Conversation

FINAL = ("Succeeded", "Failed", "Cancelled")
COMPLETED = {"reason": "Completed", "exitCode": 0, "signal": None, "message": "Done.", "finishTime": None}


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Fault:
    """What meets a request instead of an answer: a problem, or, with `hang_up`, the end of the connection.

    `carried_out` says whether the request is carried out all the same.
    """

    status: int = 500
    code: str = "made-up"
    detail: str = "It was made up."
    causes: list[dict[str, str]] = field(default_factory=list)
    retry_after: str | None = None
    retryable: bool | None = None  # else what the status says
    hang_up: bool = False
    carried_out: bool = False


class FakeGateway:
    """`faults` meet the next requests, one each; `cuts` end the next log streams after so many bytes of body.

    A task's status is read from `scripts` while that has entries: each reading takes one and the last one stays.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.scripts: dict[str, deque[dict[str, Any]]] = {}
        self.logs: dict[str, bytes] = {}
        self.seen: list[Seen] = []
        self.predictions: list[Any] = []
        self.results: dict[str, deque[tuple[int, Any]]] = {}  # by id: what each reading of it finds; the last one stays
        self.faults: deque[Fault] = deque()
        self.cuts: deque[int] = deque()
        self.streamed: list[int] = []  # how many bytes of body each log stream has had
        self.chunked = True
        self.forgets = False  # whether a log stream begins anew whatever was seen of it
        self.speaks_events = True
        self.lines_per_event = 1
        self.page_limit = 500
        self.termination = COMPLETED
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("_Conversation", (Conversation,), {"gateway": self}))
        self._server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def add_job(self, task_id: str, status: str = "Running", **fields: Any) -> None:
        known = {"taskId": task_id, "uid": f"uid-{task_id}", "createTime": "2026-11-20T10:00:00Z", **fields}
        self.jobs[task_id] = {**known, "status": job_status(task_id, status)}

    def add_deployment(self, task_id: str, status: str = "Ready", replicas: int = 1, **fields: Any) -> None:
        known = {"taskId": task_id, "modelId": task_id, "replicas": replicas, **fields}
        self.deployments[task_id] = {**known, "status": deployment_status(task_id, status, replicas)}

    def script(self, task_id: str, *changes: dict[str, Any]) -> None:
        """What the next readings of the task's status find changed."""
        self.scripts[task_id] = deque(changes)

    def meet(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any
    ) -> Fault | None:
        self.seen.append(Seen(method, path, query, headers, body))
        return self.faults.popleft() if self.faults else None

    def set_status(self, task_id: str, status: str) -> None:
        self.jobs[task_id]["status"] = job_status(task_id, status)

    def is_final(self, noun: str, task_id: str) -> bool:
        return self.tasks(noun)[task_id]["status"]["status"] in FINAL

    def requests(self, method: str, ending: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and seen.path.endswith(ending)]

    def tasks(self, noun: str) -> dict[str, dict[str, Any]]:
        return self.jobs if noun == "train/jobs" else self.deployments

    def read(self, noun: str, task_id: str) -> dict[str, Any] | None:
        task = self.tasks(noun).get(task_id)
        script = self.scripts.get(task_id)
        if task and script:
            change = script.popleft() if len(script) > 1 else script[0]
            task["status"] = {**task["status"], **change}
        return task


def job_status(task_id: str, status: str) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "status": status,
        "reason": f"Because{status}",
        "message": f"The job is {status.lower()}.",
        "conditions": [condition("Accepted", "True", "Accepted", "The job was accepted.")],
        "progress": {"percent": None, "metrics": {}},
        "mlflowRunId": "run-1",
        "termination": COMPLETED if status in FINAL else None,
        "notes": [],
    }


def deployment_status(task_id: str, status: str, replicas: int) -> dict[str, Any]:
    ready = replicas if status == "Ready" else 0
    return {
        "taskId": task_id,
        "status": status,
        "reason": f"Because{status}",
        "message": f"The deployment is {status.lower()}.",
        "conditions": [condition("Ready", str(status == "Ready"), "Counted", "Replicas were counted.")],
        "replicas": {"wanted": replicas, "ready": ready},
        "notes": [],
    }


def condition(type_: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-20T10:00:00Z",
    }
