"""Bodies of deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.core.errors import InvalidRequest
from app.core.names import HEADER_NAME, MODEL_NAME
from app.core.tasks import Deployment
from app.schemas.scaling import Replicas, ScalingRequest
from app.schemas.status import DeploymentStatusAnswer
from app.schemas.wire import Answer, ModelId, Moment, TaskId

RunId = Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")]
ModelName = Annotated[str, Field(min_length=1, max_length=250, pattern=MODEL_NAME)]
Alias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=255)]
HeaderName = Annotated[str, Field(pattern=HEADER_NAME, max_length=64, examples=["X-Session"])]
Version = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]

EXAMPLE: JsonDict = {
    "taskId": "deploy-reg-01",
    "modelId": "predictor-house-v1",
    "mlflowRunId": "90df8a7a263149d2bb86a71be7442611",
    "modelProfile": "tabular_regression",
    "useGpu": False,
}


class DeployRequest(ScalingRequest):
    """Serve a model: the one of `mlflowRunId`, or `modelName` with `alias` or `version` from the registry.

    `replicas` is a fixed number. With minReplicas or maxReplicas it follows the load instead, so that each replica has
    about targetConcurrency predictions in flight; with minReplicas 0 it sleeps after idleSeconds without one, and the
    next one wakes it.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    task_id: TaskId
    model_id: ModelId
    model_profile: Annotated[str, Field(min_length=1, max_length=100, examples=["tabular_regression"])]
    mlflow_run_id: RunId | None = None
    model_name: ModelName | None = None
    alias: Alias | None = None
    version: Version | None = None
    use_gpu: bool = False
    replicas: Replicas = 1
    sticky_header: HeaderName | None = Field(
        None, description="predictions with the same value of this header go to the same replica, while it is ready"
    )

    @model_validator(mode="after")
    def _one_model(self) -> DeployRequest:
        if (self.mlflow_run_id is None) == (self.model_name is None):
            raise ValueError("name the model by mlflowRunId, or by modelName with alias or version")
        if self.model_name is None and (self.alias or self.version):
            raise ValueError("alias and version belong to modelName")
        if self.model_name is not None and (self.alias is None) == (self.version is None):
            raise ValueError("modelName needs either alias or version")
        return self


class DeploymentPatch(ScalingRequest):
    """A merge patch (RFC 7396) of a deployment: another number of replicas, or other bounds, another model, or both.

    `replicas` makes their number fixed again; bounds that are left out stay as they are.

    The model is named as in a deployment's body. Of a model of the registry, `alias` or `version` alone is enough.
    Another model is rolled out: what serves goes on serving until replicas of the new one are ready.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"replicas": 3}, {"alias": "champion"}]})

    replicas: Replicas | None = None
    mlflow_run_id: RunId | None = None
    model_name: ModelName | None = None
    alias: Alias | None = None
    version: Version | None = None

    @model_validator(mode="after")
    def _one_change(self) -> DeploymentPatch:
        if self.replicas is None and not self.is_elastic and not self.names_a_model:
            raise ValueError("nothing would change: send replicas or bounds of them, or name a model")
        if self.mlflow_run_id is not None and (self.model_name or self.alias or self.version):
            raise ValueError("name the model by mlflowRunId, or by modelName with alias or version")
        if self.alias is not None and self.version is not None:
            raise ValueError("send either alias or version")
        if self.model_name is not None and self.alias is None and self.version is None:
            raise ValueError("modelName needs either alias or version")
        return self

    @property
    def names_a_model(self) -> bool:
        return any((self.mlflow_run_id, self.model_name, self.alias, self.version))

    def merged(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that name the model after this patch of `wanted`, all of them. Raises `InvalidRequest`."""
        name = self.model_name or wanted["modelName"]
        if self.mlflow_run_id is not None:
            name = None
        elif name is None:
            raise InvalidRequest.at("/modelName", "The present model was named by its run, so send modelName as well.")
        return {"mlflowRunId": self.mlflow_run_id, "modelName": name, "alias": self.alias, "version": self.version}


class DeploymentAnswer(Answer):
    """A deployment: the request with its defaults and its later changes, and its status.

    The bounds are null where the number of replicas is fixed; else `replicas` is how many its load takes now.
    `revision` counts the models that were asked for; the status says which of them serves.
    """

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
    sticky_header: str | None
    min_replicas: int | None
    max_replicas: int | None
    target_concurrency: int | None
    idle_seconds: int | None
    revision: int
    create_time: Moment
    status: DeploymentStatusAnswer

    @classmethod
    def of(cls, deployment: Deployment) -> DeploymentAnswer:
        request = DeployRequest.model_validate(deployment.wanted)
        fields = {name: getattr(request, name) for name in DeployRequest.model_fields}
        bounds = {name: getattr(deployment.elastic, name, None) for name in ScalingRequest.model_fields}
        return cls(
            **{**fields, **bounds, "mlflow_run_id": deployment.run_id, "replicas": deployment.spec.replicas},
            uid=deployment.uid,
            revision=deployment.revision,
            create_time=deployment.created_at,
            status=DeploymentStatusAnswer.of(deployment),
        )


class DeploymentPage(Answer):
    items: list[DeploymentAnswer]
    next_page_token: str = Field(description="empty at the end")
