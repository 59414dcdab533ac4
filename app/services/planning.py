"""Planning: what should run for a request, decided purely from the request, its profile and the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.errors import BelowFacts, GpuNotAllowed, InvalidRequest
from app.core.names import job_name, server_name
from app.core.profiles import Profile, Profiles
from app.core.specs import JobSpec, Placeholders, Program, ServerSpec
from app.schemas.deployments import DeployRequest
from app.schemas.training import TrainRequest
from inference_server.contract import Facts, ServerInput
from trainer.contract import TrainerInput

IMAGE_FROM_REQUEST = "modelyard/image-from-request"

# What a trainer needs to reach data in S3; only the names are known here.
S3_SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "AWS_DEFAULT_REGION",
)

_TABULAR = ("numpy", "pandas", "sklearn", "skops")
_TORCH = ("torch", "transformers", "safetensors", "PIL")
_IMPORTS = {
    "tabular_regression": _TABULAR,
    "tabular_classification": _TABULAR,
    "image_classification": _TORCH,
    "text_classification": _TORCH,
    "text_generation": _TORCH,
}


@dataclass(frozen=True, slots=True)
class Planner:
    """`tracking_uri` is where launched programs reach MLflow; `patience_seconds` how long they wait for it.

    `model_cache_bytes` is how much servers that share a cache of models keep there.
    """

    profiles: Profiles
    tracking_uri: str
    patience_seconds: int
    model_cache_bytes: int

    def job(self, request: TrainRequest, uid: str) -> JobSpec:
        """Raises `ProfileUnknown`, `GpuNotAllowed`, `InvalidRequest`."""
        profile = self._profile(request.model_profile, "training", request.use_gpu)
        if request.initial_model_file_path and not profile.warm_start:
            raise InvalidRequest.at(
                "/initialModelFilePath", f"Profile {request.model_profile!r} cannot start from an earlier model."
            )
        resources = profile.training.resources(use_gpu=request.use_gpu)
        letter = TrainerInput(
            task_id=request.task_id,
            job_uid=uid,
            experiment_name=request.experiment_name,
            profile=request.model_profile,
            family=profile.family,
            model_name=request.custom_model_name,
            dataset_path=request.dataset_path,
            initial_model=request.initial_model_file_path,
            tracking_uri=self.tracking_uri,
            tracking_patience_seconds=self.patience_seconds,
            work_dir=Placeholders.WORK_DIR,
            termination_log=Placeholders.TERMINATION_LOG,
            use_gpu=request.use_gpu,
            memory_limit_bytes=resources.memory_bytes,
            hyperparameters=profile.resolve(request.hyperparameters),
        )
        labels = {"modelyard/profile": request.model_profile}
        if request.trainer_image:
            labels[IMAGE_FROM_REQUEST] = "true"
        return JobSpec(
            name=job_name(request.task_id),
            task_id=request.task_id,
            uid=uid,
            program=Program(
                module="trainer",
                environment=letter.to_env(),
                image=request.trainer_image or profile.training.image,
                requires=("mlflow", *_IMPORTS[profile.family]),
                install=_install("trainer", profile.family),
                secrets=S3_SECRETS,
            ),
            resources=resources,
            start_deadline=profile.start_deadline,
            labels=labels,
            placement=profile.training.placement,
            run_deadline=profile.training.run_deadline,
            queue=request.queue or "",
        )

    def server(
        self, request: DeployRequest, run_id: str, logged_model_id: str, uid: str, facts: Facts | None = None
    ) -> ServerSpec:
        """Raises `ProfileUnknown`, `GpuNotAllowed`, `BelowFacts`."""
        profile = self._profile(request.model_profile, "serving", request.use_gpu)
        resources = profile.serving.resources(use_gpu=request.use_gpu)
        if facts and resources.memory_bytes < facts.peak_memory_bytes:
            raise BelowFacts(request.model_profile, resources.memory_bytes, facts.peak_memory_bytes)
        letter = ServerInput(
            task_id=request.task_id,
            model_id=request.model_id,
            family=profile.family,
            run_id=run_id,
            logged_model_id=logged_model_id,
            tracking_uri=self.tracking_uri,
            listen=Placeholders.LISTEN,
            address_file=Placeholders.ADDRESS_FILE,
            model_cache=Placeholders.MODEL_CACHE,
            model_cache_bytes=self.model_cache_bytes,
            termination_log=Placeholders.TERMINATION_LOG,
            use_gpu=request.use_gpu,
            cpu_threads=max(1, resources.cpu_millis // 1000),
            batch_latency_ms=profile.serving.batch_latency_ms,
            max_batch_rows=profile.serving.max_batch_rows,
        )
        return ServerSpec(
            name=server_name(request.task_id),
            task_id=request.task_id,
            uid=uid,
            program=Program(
                module="inference_server",
                environment=letter.to_env(),
                image=profile.serving.image,
                requires=("httptools", *_IMPORTS[profile.family]),
                install=_install("inference", profile.family),
            ),
            resources=resources,
            start_deadline=profile.start_deadline,
            replicas=request.replicas,
            labels={"modelyard/profile": request.model_profile, "modelyard/model-id": request.model_id},
            placement=profile.serving.placement,
            facts=_on_gpu(facts) if facts and request.use_gpu else facts,
        )

    def check_family(self, request: DeployRequest, trained_with: str | None) -> None:
        """Raise `InvalidRequest` if a model that was trained with this profile is none of the request's family."""
        if trained_with is None or trained_with not in dict(self.profiles.items()):
            return
        trained, asked = self.profiles[trained_with].family, self.profiles[request.model_profile].family
        if trained != asked:
            raise InvalidRequest.at(
                "/modelProfile", f"The model was trained with profile {trained_with!r}; deploy it with that one."
            )

    def _profile(self, name: str, stage: str, use_gpu: bool) -> Profile:
        profile = self.profiles[name]
        if use_gpu and getattr(profile, stage).gpu == 0:
            raise GpuNotAllowed(name)
        return profile


def _on_gpu(facts: Facts) -> Facts:
    """Compiled models run on the CPU, so that there the original is served."""
    if facts.served == "original":
        return facts
    return replace(facts, served="original", reason=f"On a GPU the original is served. {facts.reason}")


def _install(program: str, family: str) -> str:
    files: Sequence[str] = (program,) if _IMPORTS[family] is _TABULAR else (program, "torch")
    return "pip install " + " ".join(f"-r requirements/{file}.in" for file in files) + " -c requirements/lock.txt"
