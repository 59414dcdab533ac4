"""An MLflow that lives in this process: the few routes that the gateway asks, answered as the real one does."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass
class FakeRun:
    run_id: str
    experiment: str
    job_uid: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    model_id: str | None = None
    status: str = "RUNNING"
    profile: str | None = None
    facts: str | None = None

    def as_json(self) -> dict[str, Any]:
        outputs = {"model_outputs": [{"model_id": self.model_id}]} if self.model_id else {}
        values = {key: value if math.isfinite(value) else str(value) for key, value in self.metrics.items()}
        metrics = [{"key": key, "value": value} for key, value in values.items()]
        info = {"run_id": self.run_id, "status": self.status}
        known = {"modelyard.profile": self.profile, "modelyard.facts": self.facts}
        tags = [{"key": key, "value": value} for key, value in known.items() if value]
        return {"info": info, "data": {"metrics": metrics, "tags": tags}, "outputs": outputs}


class FakeMlflow(httpx2.AsyncBaseTransport):
    """`runs` and `versions` are there to be filled; `is_down` makes every call fail as a refused connection does."""

    def __init__(self) -> None:
        self.runs: dict[str, FakeRun] = {}
        self.versions: dict[tuple[str, str], str] = {}  # (model name, version or @alias) -> run id
        self.is_down = False
        self.is_hung = False
        self.refused = 0  # calls while it was down

    def log(self, run_id: str, **fields: Any) -> FakeRun:
        fields.setdefault("experiment", "House Price Prediction")
        self.runs[run_id] = FakeRun(run_id, **fields)
        return self.runs[run_id]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.is_hung:
            await asyncio.sleep(3600)
        if self.is_down:
            self.refused += 1
            raise httpx2.ConnectError("connection refused", request=request)
        route = request.url.path.removeprefix("/api/2.0/mlflow/")
        query = dict(request.url.params)
        body = json.loads(await request.aread() or b"{}")
        match route:
            case "experiments/search":
                return httpx2.Response(200, json={})
            case "experiments/get-by-name":
                names = {run.experiment for run in self.runs.values()}
                name = query["experiment_name"]
                return _found({"experiment": {"experiment_id": name}} if name in names else None)
            case "runs/search":
                uid = body["filter"].split("'")[1]
                [experiment] = body["experiment_ids"]
                runs = [r for r in self.runs.values() if r.job_uid == uid and r.experiment == experiment]
                return httpx2.Response(200, json={"runs": [run.as_json() for run in runs]} if runs else {})
            case "runs/get":
                run = self.runs.get(query["run_id"])
                return _found({"run": run.as_json()} if run else None)
            case "runs/update":
                self.runs[body["run_id"]].status = body["status"]
                return httpx2.Response(200, json={})
            case "registered-models/alias":
                if any(name == query["name"] for name, _ in self.versions) and not self._knows(query):
                    return httpx2.Response(400, json={"error_code": "INVALID_PARAMETER_VALUE"})
                return self._version(query["name"], "@" + query["alias"])
            case "model-versions/get":
                return self._version(query["name"], query["version"])
        return httpx2.Response(404, json={"error_code": "ENDPOINT_NOT_FOUND"})

    def _knows(self, query: dict[str, str]) -> bool:
        return (query["name"], "@" + query["alias"]) in self.versions

    def _version(self, name: str, key: str) -> httpx2.Response:
        run_id = self.versions.get((name, key))
        version = {"version": "7", "run_id": run_id, "model_id": self.runs[run_id].model_id} if run_id else None
        return _found({"model_version": version} if version else None)


def _found(content: dict[str, Any] | None) -> httpx2.Response:
    if content is None:
        return httpx2.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"})
    return httpx2.Response(200, json=content)
