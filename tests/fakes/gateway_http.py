"""The HTTP of the fake gateway: routes, problem bodies, event streams that break off where a test says."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.fakes.gateway import FakeGateway


class Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # one packet an answer: no waiting for delayed acknowledgements
    timeout = 0.5  # an idle connection must not hold up the end of a test
    gateway: FakeGateway

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        self.route = unquote(url.path)
        self.body: Any = json.loads(body) if body else None
        fault = self.gateway.meet(self.command, self.route, self.query, dict(self.headers.items()), self.body)
        self._muted = self.close_connection = fault is not None and fault.hang_up
        if fault is None or fault.carried_out:
            self._carry_out()
        elif not fault.hang_up:
            self._problem(
                fault.status, fault.code, fault.detail, fault.causes, fault.retry_after, retryable=fault.retryable
            )

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

    def _carry_out(self) -> None:
        for pattern, verb in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {self.route}"):
                return verb(self, *match.groups())
        return self._problem(404, "not-found", f"{self.route} is not there.")

    def _submit(self, noun: str) -> None:
        if self.query.get("dryRun") == "true":
            return self._json(200, {"dryRun": True, "runtime": "local", "launch": {"command": ["python", "-m", "x"]}})
        tasks, task_id = self.gateway.tasks(noun), self.body["taskId"]
        if (old := tasks.get(task_id)) is not None:
            if old["asked"] == self.body:
                return self._json(200, old)
            return self._problem(409, "task-exists", f"Task {task_id!r} exists with another body.")
        add = self.gateway.add_job if noun == "train/jobs" else self.gateway.add_deployment
        fields = {name: value for name, value in self.body.items() if name != "taskId"}
        add(task_id, "Queued" if noun == "train/jobs" else "Deploying", **fields, asked=self.body)
        return self._json(202, tasks[task_id])

    def _list(self, noun: str) -> None:
        start = int(self.query.get("pageToken", 0))
        stop = start + min(int(self.query.get("pageSize", 50)), self.gateway.page_limit)
        wanted = self.query.get("status")
        items = [t for t in self.gateway.tasks(noun).values() if wanted in (None, t["status"]["status"])]
        self._json(200, {"items": items[start:stop], "nextPageToken": str(stop) if stop < len(items) else ""})

    def _read(self, noun: str, task_id: str, part: str | None) -> None:
        task = self.gateway.read(noun, task_id)
        if task is None:
            code = "job-not-found" if noun == "train/jobs" else "deployment-not-found"
            return self._problem(404, code, f"There is no {noun} {task_id!r}.")
        return self._json(200, task["status"] if part else task)

    def _delete(self, noun: str, task_id: str) -> None:
        task = self.gateway.tasks(noun).get(task_id)
        if task is None:
            return self._problem(404, "not-found", f"There is no {noun} {task_id!r}.")
        if noun == "train/jobs":
            self.gateway.set_status(task_id, "Cancelled")
        else:
            del self.gateway.deployments[task_id]
        return self._json(202, task)

    def _change(self, task_id: str) -> None:
        if task_id not in self.gateway.deployments:
            return self._problem(404, "deployment-not-found", f"There is no deployment {task_id!r}.")
        task = self.gateway.deployments[task_id]
        task |= self.body
        return self._json(200, task)

    def _predict(self, task_id: str) -> None:
        if task_id not in self.gateway.deployments:
            return self._problem(404, "deployment-not-found", f"There is no deployment {task_id!r}.")
        self.gateway.predictions.append(self.body)
        if "respond-async" in self.headers.get("prefer", ""):
            return self._later(task_id)
        return self._json(200, {"predictions": [sum(row) for row in self.body["data"]["features"]]})

    def _later(self, task_id: str) -> None:
        """The first reading of the result finds it pending, and with a wait it is there at once."""
        id = f"id-{len(self.gateway.results)}"
        answer = (200, {"predictions": [sum(row) for row in self.body["data"]["features"]]})
        pending = (202, {"id": id, "taskId": task_id, "status": "Pending", "ahead": 2, "estimateSeconds": 1.5})
        waits = "wait=0" not in self.headers.get("prefer", "")
        self.gateway.results[id] = deque([answer] if waits else [pending, pending, answer])
        self._result(id)

    def _result(self, id: str) -> None:
        if (script := self.gateway.results.get(id)) is None:
            return self._problem(404, "prediction-not-found", f"There is no prediction {id!r}.")
        status, content = script.popleft() if len(script) > 1 else script[0]
        place = f"/api/v1/inference/result/{id}"
        told = {"Prediction-Status": "Pending", "Location": place}
        if status != 202:
            told = {"Prediction-Status": "Done", "Content-Location": place}
        return self._answer(status, json.dumps(content).encode(), "application/json", told)

    def _catalog(self, what: str) -> None:
        epochs = {"type": "integer", "default": 20, "minimum": 1, "maximum": None, "choices": None}
        scale = {"type": "string", "default": "auto", "minimum": None, "maximum": None, "choices": ["auto", "none"]}
        hyperparameters = {"numEpoch": epochs, "scaling": scale}
        profile = {"name": "p", "family": "tabular", "warmStart": True, "hyperparameters": hyperparameters}
        capabilities = {"tracking": {"uri": "http://127.0.0.1:5000"}}
        self._json(200, {"items": [profile]} if what == "profiles" else capabilities)

    def _log(self, noun: str, task_id: str) -> None:
        if task_id not in self.gateway.tasks(noun):
            return self._problem(404, "not-found", f"There is no {noun} {task_id!r}.")
        if self.query.get("follow") == "true":
            return self._follow(noun, task_id)
        log = self.gateway.logs.get(task_id, b"").splitlines(keepends=True)
        return self._answer(200, b"".join(log[-int(self.query.get("tail", 10**6)) :]), "text/plain; charset=utf-8")

    def _follow(self, noun: str, task_id: str) -> None:
        stream = _Stream(self, self.gateway.cuts.popleft() if self.gateway.cuts else None)
        offset = 0 if self.gateway.forgets else int(self.headers.get("last-event-id", 0))
        stream.send(": hello\n\nretry: 1000\n\n")
        while not self.gateway.closing.is_set() and not stream.is_cut:
            log = self.gateway.logs.get(task_id, b"")
            is_final = self.gateway.is_final(noun, task_id)
            while offset < len(log) and not stream.is_cut:
                lines = b"".join(log[offset:].splitlines(keepends=True)[: self.gateway.lines_per_event])
                offset += len(lines)
                shown = "".join(f"data: {line}\n" for line in lines.decode().removesuffix("\n").split("\n"))
                stream.send(f"{shown}id: {offset}\n\n")
            if is_final:
                stream.send(f"event: end\ndata: {json.dumps(self.gateway.termination)}\nid: {offset}\n\n")
                return stream.finish()
            time.sleep(0.01)
        return None

    def _problem(
        self,
        status: int,
        code: str,
        detail: str,
        causes: list[Any] | None = None,
        retry_after: str | None = None,
        *,
        retryable: bool | None = None,
    ) -> None:
        retryable = status in (429, 502, 503, 504) if retryable is None else retryable
        headers = {"Retry-After": retry_after} if retry_after is not None else {}
        body = {"type": "about:blank", "title": "No", "status": status, "detail": detail, "code": code}
        body |= {"requestId": "req-1", "retryable": retryable, "causes": causes or []}
        self._answer(status, json.dumps(body).encode(), "application/problem+json", headers)

    def _json(self, status: int, body: Any) -> None:
        self._answer(status, json.dumps(body).encode(), "application/json")

    def _answer(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        if self._muted:
            return
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Stream:
    """The body of an event stream; after `cut` bytes of it the connection just ends."""

    def __init__(self, conversation: Conversation, cut: int | None) -> None:
        self._conversation, self._cut, self._sent = conversation, cut, 0
        self._chunked = conversation.gateway.chunked
        self._streamed, self._place = conversation.gateway.streamed, len(conversation.gateway.streamed)
        self._streamed.append(0)
        self.is_cut = False
        conversation.close_connection = True
        conversation.send_response(200)
        kind = "text/event-stream" if conversation.gateway.speaks_events else "text/plain"
        conversation.send_header("Content-Type", kind)
        conversation.send_header(*(("Transfer-Encoding", "chunked") if self._chunked else ("Connection", "close")))
        conversation.end_headers()

    def send(self, text: str) -> None:
        payload = text.encode()
        if self._cut is not None and self._sent + len(payload) >= self._cut:
            payload, self.is_cut = payload[: self._cut - self._sent], True
        self._sent += len(payload)
        self._streamed[self._place] = self._sent  # before the bytes go: whoever has them may ask
        if payload:
            frame = f"{len(payload):x}\r\n".encode() + payload + b"\r\n" if self._chunked else payload
            self._conversation.wfile.write(frame)
            self._conversation.wfile.flush()

    def finish(self) -> None:
        if self._chunked and not self.is_cut:
            self._conversation.wfile.write(b"0\r\n\r\n")


_NOUN, _ID = "(train/jobs|inference/deployments)", "([^/]+)"
_ROUTES = (
    (rf"POST /api/v1/{_NOUN}", Conversation._submit),
    (rf"GET /api/v1/{_NOUN}", Conversation._list),
    (rf"GET /api/v1/{_NOUN}/{_ID}/logs", Conversation._log),
    (rf"GET /api/v1/{_NOUN}/{_ID}(/status)?", Conversation._read),
    (rf"DELETE /api/v1/{_NOUN}/{_ID}", Conversation._delete),
    (rf"PATCH /api/v1/inference/deployments/{_ID}", Conversation._change),
    (rf"POST /api/v1/inference/{_ID}/predict", Conversation._predict),
    (rf"GET /api/v1/inference/result/{_ID}", Conversation._result),
    (r"GET /api/v1/(profiles|capabilities)", Conversation._catalog),
)
