"""Bodies of training jobs."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from pydantic.config import JsonDict

from app.core.names import DNS_LABEL, MODEL_NAME, TITLE
from app.core.tasks import Job
from app.schemas.status import JobStatusAnswer
from app.schemas.wire import Answer, Moment, Request, TaskId

_MODEL_SCHEMES = ("runs", "models", "s3", "http", "https")
_DATASET_SCHEMES = ("s3", "http", "https")


def _without_credentials(location: str) -> str:
    parts = urlsplit(location)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not carry a user name or password")
    return location


def _location(location: str, schemes: tuple[str, ...]) -> str:
    if any(ord(character) < 32 for character in location):
        raise ValueError("must not contain control characters")
    scheme, colon, _ = location.partition(":")
    if colon and scheme in schemes:
        return _without_credentials(location)
    if not location.startswith("/"):
        raise ValueError(f"must be an absolute path or start with {', '.join(f'{s}:' for s in schemes)}")
    return location


def _dataset(location: str) -> str:
    return _location(location, _DATASET_SCHEMES)


def _initial_model(location: str | None) -> str | None:
    return None if location is None else _location(location, _MODEL_SCHEMES)


def _none_by_name(value: Any) -> Any:
    """The published contract sends the string "None" where it means nothing."""
    return None if value in ("None", "") else value


HyperparameterValue = StrictBool | StrictInt | StrictFloat | StrictStr
EXAMPLE: JsonDict = {
    "taskId": "train-reg-01",
    "experimentName": "House Price Prediction",
    "modelProfile": "tabular_regression",
    "customModelName": "predictorHouseValue",
    "initialModelFilePath": "None",
    "datasetPath": "s3://datasets/house-prices.csv",
    "useGpu": False,
    "hyperparameters": {"numEpoch": 100, "learningRate": 0.001, "numBatch": 32},
}


class TrainRequest(Request):
    """Train a model. The same taskId with an equal body is the same job."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    task_id: TaskId
    experiment_name: Annotated[
        str, Field(min_length=1, max_length=250, pattern=TITLE, examples=["House Price Prediction"])
    ]
    model_profile: Annotated[str, Field(min_length=1, max_length=100, examples=["tabular_regression"])]
    custom_model_name: Annotated[
        str, Field(min_length=1, max_length=250, pattern=MODEL_NAME, description="the name in the model registry")
    ]
    dataset_path: Annotated[
        str,
        Field(max_length=2000, examples=["s3://datasets/house-prices.csv"]),
        AfterValidator(_dataset),
    ]
    initial_model_file_path: Annotated[
        str | None,
        Field(max_length=2000, description='warm start: a path, s3://, runs:/ or models:/; "None" means none'),
        AfterValidator(_initial_model),
        BeforeValidator(_none_by_name),
    ] = None
    trainer_image: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    use_gpu: bool = False
    queue: Annotated[
        str | None,
        Field(min_length=1, max_length=63, pattern=DNS_LABEL, description="a LocalQueue of Kueue that admits the job"),
    ] = None
    hyperparameters: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=100)], HyperparameterValue],
        Field(max_length=100, examples=[{"numEpoch": 100, "learningRate": 0.001, "numBatch": 32}]),
    ] = {}


class JobAnswer(Answer):
    """A training job: the request with its defaults, and its status."""

    task_id: str
    uid: str
    experiment_name: str
    model_profile: str
    custom_model_name: str
    dataset_path: str
    initial_model_file_path: str | None
    trainer_image: str | None
    use_gpu: bool
    queue: str | None
    hyperparameters: dict[str, bool | int | float | str]
    create_time: Moment
    status: JobStatusAnswer

    @classmethod
    def of(cls, job: Job) -> JobAnswer:
        request = TrainRequest.model_construct(**job.request)  # kept as accepted, maybe by a version less strict
        fields = {name: getattr(request, name) for name in TrainRequest.model_fields}
        return cls(**fields, uid=job.uid, create_time=job.created_at, status=JobStatusAnswer.of(job))


class JobPage(Answer):
    items: list[JobAnswer]
    next_page_token: str = Field(description="empty at the end")
