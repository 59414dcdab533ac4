"""`yard scale`, `yard update` and `yard delete`: change what runs."""

from __future__ import annotations

from typing import Annotated

import typer

from modelyard.cli import views
from modelyard.cli.options import (
    AnyKind,
    IdleSeconds,
    MaxReplicas,
    MinReplicas,
    Name,
    OutputForm,
    TargetConcurrency,
    Timeout,
    Url,
    Wait,
    Yes,
    session,
)
from modelyard.records import Job, Kind
from modelyard.requests import DeploymentChange


def scale(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The task id of the deployment.", show_default=False)],
    count: Annotated[
        int | None, typer.Argument(metavar="REPLICAS", min=0, help="How many equal servers.", show_default=False)
    ] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", min=0, help="The same, as an option.")] = None,
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    target_concurrency: TargetConcurrency = None,
    idle_seconds: IdleSeconds = None,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Run a deployment in another number of replicas, or let it follow its load."""
    change = DeploymentChange(
        replicas=replicas if count is None else count,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        target_concurrency=target_concurrency,
        idle_seconds=idle_seconds,
    )
    if not any(value is not None for value in change.values()) or None not in (count, replicas):
        raise typer.BadParameter("Say once how many: yard scale NAME 2, or --replicas 2, or bounds: --max-replicas 4.")
    with session(ctx, url, output) as (client, screen):
        deployment = client.update(name, **change)
        screen.show(deployment.raw, views.deployment_table([deployment]))


def update(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The task id of the deployment.", show_default=False)],
    run: Annotated[str | None, typer.Option("--run", help="The MLflow run whose model to serve.")] = None,
    model_name: Annotated[
        str | None, typer.Option("--model-name", help="A model of the registry; else the one that is named already.")
    ] = None,
    alias: Annotated[str | None, typer.Option("--alias", help="Such as champion.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="A version of the registered model.")] = None,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Serve another model; the present one serves until the new one is ready, and goes on if it never is."""
    if sum(given is not None for given in (run, alias, version)) != 1 or (run and model_name):
        raise typer.BadParameter("Name the model by --run, or by --alias or --version, with --model-name if it is new.")
    with session(ctx, url, output) as (client, screen):
        deployment = client.update(name, mlflow_run_id=run, model_name=model_name, alias=alias, version=version)
        screen.show(deployment.raw, views.deployment_table([deployment]))


def delete(
    ctx: typer.Context,
    name: Name,
    kind: AnyKind = None,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = None,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Stop a job (it stays listed, with its log), or remove a deployment."""
    with session(ctx, url, output) as (client, screen):
        thing = client.find(name, kind)
        kind = thing.kind
        if isinstance(thing, Job) and thing.status.is_final:
            screen.show(thing.raw)
            screen.say(f"The job {name} has ended already ({thing.status.phase}); nothing to stop.")
            return
        verb, future = ("Stop", "stopped") if kind is Kind.JOB else ("Remove", "removed")
        if not yes:
            typer.confirm(f"{verb} the {kind} {name}?", abort=True, err=True)
        deleted = client.delete(name, kind)
        if wait:
            with screen.meter(name) as meter:
                meter(None, "Stopping" if kind is Kind.JOB else "Deleting")
                client.wait_until_deleted(name, kind, timeout)
        screen.show(deleted.raw)
        past = "has ended" if kind is Kind.JOB else "is gone"
        screen.say(f"The {kind} {name} {past if wait else 'is being ' + future}.")
