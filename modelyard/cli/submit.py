"""`yard train` and `yard deploy`: submit, and wait if asked to."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli import views
from modelyard.cli.options import (
    DryRun,
    IdleSeconds,
    MaxReplicas,
    MinReplicas,
    OutputForm,
    TargetConcurrency,
    Timeout,
    Url,
    Wait,
    hyperparameters,
    location,
    session,
)
from modelyard.cli.screen import Screen
from modelyard.client import Client
from modelyard.outcomes import TaskFailed, check
from modelyard.records import Deployment, DeploymentStatus, Job, JobStatus
from modelyard.requests import DeploymentRequest, TrainingRequest

Profile = Annotated[str, typer.Option("--profile", help="The model profile.", show_default=False)]
TaskId = Annotated[str | None, typer.Option("--task-id", help="A name of your own; else one is made.")]
Gpu = Annotated[bool, typer.Option("--gpu", help="Use a GPU; the profile must allow it.")]


def train(
    ctx: typer.Context,
    profile: Profile,
    data: Annotated[
        str, typer.Option("--data", help="The dataset: a file here, s3:// or http(s)://.", show_default=False)
    ],
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="MLflow's experiment; else the profile.")
    ] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="Its name in the model registry; else the profile.")
    ] = None,
    task_id: TaskId = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A hyperparameter; repeatable.")
    ] = None,
    init_model: Annotated[
        str | None, typer.Option("--init-model", help="Warm start: a path, s3://, runs:/ or models:/.")
    ] = None,
    gpu: Gpu = False,
    wait: Wait = False,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Train a model."""
    request = TrainingRequest(
        model_profile=profile,
        dataset_path=location(data),
        use_gpu=gpu,
        hyperparameters=hyperparameters(param or []),
        task_id=task_id,
        experiment_name=experiment or profile,
        custom_model_name=model_name or profile,
        initial_model_file_path=location(init_model) if init_model else None,
    )
    with session(ctx, url, output) as (client, screen):
        if dry_run:
            screen.show_json(client.plan_training(**request))
            return
        job = client.train(**request)
        if not wait:
            screen.show(job.raw, views.job_table([job]))
            return
        _await_job(client, screen, job, timeout)


def deploy(
    ctx: typer.Context,
    profile: Profile,
    run: Annotated[str | None, typer.Option("--run", help="The MLflow run whose model to serve.")] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="A model of the registry, with --alias or --version.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Such as champion.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="A version of the registered model.")] = None,
    model_id: Annotated[
        str | None, typer.Option("--model-id", help="What to call the served model; else the task id.")
    ] = None,
    task_id: TaskId = None,
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=0, help="How many equal servers: a fixed number, 1 unless said.")
    ] = None,
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    target_concurrency: TargetConcurrency = None,
    idle_seconds: IdleSeconds = None,
    gpu: Gpu = False,
    wait: Wait = False,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Serve a model, in a fixed number of replicas or in as many as its load takes."""
    if (run is None) == (model_name is None):
        raise typer.BadParameter("Name the model by --run, or by --model-name with --alias or --version.")
    request = DeploymentRequest(
        model_profile=profile,
        mlflow_run_id=run,
        model_name=model_name,
        alias=alias,
        version=version,
        model_id=model_id,
        task_id=task_id,
        use_gpu=gpu,
        replicas=replicas,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        target_concurrency=target_concurrency,
        idle_seconds=idle_seconds,
    )
    with session(ctx, url, output) as (client, screen):
        if dry_run:
            screen.show_json(client.plan_deployment(**request))
            return
        deployment = client.deploy(**request)
        if not wait:
            screen.show(deployment.raw, views.deployment_table([deployment]))
            return
        _await_deployment(client, screen, deployment, timeout)


def _await_job(client: Client, screen: Screen, job: Job, timeout: float | None) -> None:
    with screen.meter(job.task_id) as meter:

        def show(seen: JobStatus) -> None:
            percent = seen.progress.percent if seen.progress else None
            meter(percent, views.in_words(seen), views.metrics(seen.progress))

        status = client.wait_for_job(job.task_id, timeout, on_progress=show, check=False)
    _show_outcome(screen, client.job(job.task_id), status)


def _await_deployment(client: Client, screen: Screen, deployment: Deployment, timeout: float | None) -> None:
    with screen.meter(deployment.task_id) as meter:
        status = client.wait_for_deployment(
            deployment.task_id, timeout, on_progress=lambda seen: meter(None, views.in_words(seen)), check=False
        )
    _show_outcome(screen, client.deployment(deployment.task_id), status)


def _show_outcome(screen: Screen, thing: Job | Deployment, status: JobStatus | DeploymentStatus) -> None:
    """All of a success; of a failure what the error, which is said last and has the reason, does not say."""
    try:
        check(thing.task_id, status)
    except TaskFailed:
        screen.show(thing.raw, views.failure_table(thing))
        raise
    screen.show(thing.raw, *views.status_view(thing))
