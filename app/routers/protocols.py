"""The protocols of the model servers, for the API's description, and for requests that found no ready replica."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.dependencies import Predictions
from app.routers.carried import Carried

router = APIRouter(prefix="/inference/{taskId}", tags=["protocols"])

_MODEL = "the deployment's modelId or taskId"
_ROUTES: tuple[tuple[str, str, str, str, dict[str, Any]], ...] = (
    ("GET", "/v2", "v2_server", "Open Inference Protocol: the server's name and extensions.", {}),
    ("GET", "/v2/health/live", "v2_live", "Whether a server of the deployment runs.", {}),
    ("GET", "/v2/health/ready", "v2_ready", "Whether it answers.", {}),
    ("GET", "/v2/models/{model}", "v2_model", f"The model's inputs and outputs; `model` is {_MODEL}.", {}),
    ("GET", "/v2/models/{model}/ready", "v2_model_ready", "Whether the model answers.", {}),
    (
        "POST",
        "/v2/models/{model}/infer",
        "v2_infer",
        "Predict; tensors in JSON or in binary. A tensor a column, or one of [rows, columns].",
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]},
    ),
    ("GET", "/v2/models/{model}/versions/{version}", "v2_version", "As above; the version is the run's id.", {}),
    ("GET", "/v2/models/{model}/versions/{version}/ready", "v2_version_ready", "Whether this version answers.", {}),
    ("POST", "/v2/models/{model}/versions/{version}/infer", "v2_version_infer", "Predict with this version.", {}),
    ("GET", "/v1/models", "v1_models", "KServe's V1: the models that are served.", {}),
    ("GET", "/v1/models/{model}", "v1_model", "The model's status, as TensorFlow Serving and KServe give it.", {}),
    (
        "POST",
        "/v1/models/{model}:predict",
        "v1_predict",
        "Predict, as TensorFlow Serving and KServe's V1 do: rows as `instances`, or columns as `inputs`.",
        {"instances": [[5.1, 3.5, 1.4, 0.2]]},
    ),
    ("GET", "/ping", "mlflow_ping", "MLflow's scoring server: whether it answers.", {}),
    ("GET", "/version", "mlflow_version", "The version of MLflow whose scoring server this does as.", {}),
    (
        "POST",
        "/invocations",
        "mlflow_invocations",
        "Predict, as MLflow's scoring server does; also CSV, as `text/csv`.",
        {"dataframe_split": {"columns": ["a", "b"], "data": [[5.1, 3.5]]}},
    ),
    ("GET", "/openai/v1/models", "openai_models", "OpenAI's list of models, for models that write text.", {}),
    ("GET", "/openai/v1/models/{model}", "openai_model", "OpenAI's description of the model.", {}),
    (
        "POST",
        "/openai/v1/completions",
        "openai_completions",
        f"OpenAI's completions; `model` is {_MODEL}. With `stream` server-sent events.",
        {"model": "writer", "prompt": "Once", "max_tokens": 40},
    ),
    (
        "POST",
        "/openai/v1/chat/completions",
        "openai_chat_completions",
        "OpenAI's chat completions: each message is a line, `role: content`, and the model goes on.",
        {"model": "writer", "messages": [{"role": "user", "content": "Hello"}]},
    ),
)


_ERROR = {"description": "an error, as the protocol writes it", "content": {"application/json": {}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "the server's answer"},
    "4XX": _ERROR,
    422: _ERROR,
    "5XX": _ERROR,
}


async def _explain(taskId: str, predictions: Predictions) -> Response:  # noqa: N803
    await predictions.explain(taskId)
    return Carried()


def _body(example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}, **({"example": example} if example else {})}}
    return {"requestBody": {"required": True, "content": content}}


def _parameters(path: str) -> list[dict[str, Any]]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


for _method, _path, _name, _sentence, _example in _ROUTES:
    router.add_api_route(
        _path,
        _explain,
        methods=[_method],
        name=_name,
        description=_sentence,
        response_class=Response,
        responses=_RESPONSES,
        openapi_extra={"parameters": _parameters(_path), **(_body(_example) if _method == "POST" else {})},
    )
