"""Bodies of deployments."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.core.names import MODEL_NAME
from app.core.tasks import Deployment
from app.schemas.status import DeploymentStatusAnswer
from app.schemas.wire import Answer, ModelId, Moment, Request, TaskId

Replicas = Annotated[int, Field(ge=0, le=100)]


EXAMPLE: JsonDict = {
    "taskId": "deploy-reg-01",
    "modelId": "predictor-house-v1",
    "mlflowRunId": "90df8a7a263149d2bb86a71be7442611",
    "modelProfile": "tabular_regression",
    "useGpu": False,
}


class DeployRequest(Request):
    """Serve a model: the one of `mlflowRunId`, or `modelName` with `alias` or `version` from the registry."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    task_id: TaskId
    model_id: ModelId
    model_profile: Annotated[str, Field(min_length=1, max_length=100, examples=["tabular_regression"])]
    mlflow_run_id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")] | None = None
    model_name: Annotated[str, Field(min_length=1, max_length=250, pattern=MODEL_NAME)] | None = None
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=255)] | None = None
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = None
    use_gpu: bool = False
    replicas: Replicas = 1

    @model_validator(mode="after")
    def _one_model(self) -> DeployRequest:
        if (self.mlflow_run_id is None) == (self.model_name is None):
            raise ValueError("name the model by mlflowRunId, or by modelName with alias or version")
        if self.model_name is None and (self.alias or self.version):
            raise ValueError("alias and version belong to modelName")
        if self.model_name is not None and (self.alias is None) == (self.version is None):
            raise ValueError("modelName needs either alias or version")
        return self


class ScaleRequest(Request):
    """A merge patch (RFC 7396) of a deployment; only `replicas` can change."""

    replicas: Replicas


class DeploymentAnswer(Answer):
    """A deployment: the request with its defaults, and its status."""

    task_id: str
    uid: str
    model_id: str
    model_profile: str
    mlflow_run_id: str
    model_name: str | None
    alias: str | None
    version: str | None
    use_gpu: bool
    replicas: int
    create_time: Moment
    status: DeploymentStatusAnswer

    @classmethod
    def of(cls, deployment: Deployment) -> DeploymentAnswer:
        request = DeployRequest.model_validate(deployment.request)
        fields = {name: getattr(request, name) for name in DeployRequest.model_fields}
        return cls(
            **{**fields, "mlflow_run_id": deployment.run_id, "replicas": deployment.spec.replicas},
            uid=deployment.uid,
            create_time=deployment.created_at,
            status=DeploymentStatusAnswer.of(deployment),
        )


class DeploymentPage(Answer):
    items: list[DeploymentAnswer]
    next_page_token: str = Field(description="empty at the end")
