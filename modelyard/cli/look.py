"""`yard ls`, `yard status` and `yard logs`: what there is and how it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table

from modelyard.cli import views
from modelyard.cli.options import AnyKind, Name, OutputForm, Url, session, since
from modelyard.records import DeploymentPhase, JobPhase, Word


class Noun(StrEnum):
    JOBS = "jobs"
    DEPLOYMENTS = "deployments"


def ls(
    ctx: typer.Context,
    noun: Annotated[Noun | None, typer.Argument(help="Only these.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only with this status, such as Running.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Only of this model profile.")] = None,
    experiment: Annotated[str | None, typer.Option("--experiment", help="Only jobs of this experiment.")] = None,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """List jobs and deployments, newest first."""
    if experiment and noun is Noun.DEPLOYMENTS:
        raise typer.BadParameter("Deployments belong to no experiment.", param_hint="--experiment")
    noun = Noun.JOBS if experiment else noun or _noun_of(status)
    with session(ctx, url, output) as (client, screen):
        listed: dict[str, Any] = {}
        tables: list[Table] = []
        if noun is not Noun.DEPLOYMENTS:
            jobs = list(
                client.jobs(status=_spelled(status, JobPhase), model_profile=profile, experiment_name=experiment)
            )
            listed["jobs"] = {"items": [job.raw for job in jobs], "nextPageToken": ""}
            tables += [views.job_table(jobs)] if jobs else []
        if noun is not Noun.JOBS:
            deployments = list(client.deployments(status=_spelled(status, DeploymentPhase), model_profile=profile))
            listed["deployments"] = {"items": [d.raw for d in deployments], "nextPageToken": ""}
            tables += [views.deployment_table(deployments)] if deployments else []
        screen.show(listed[noun] if noun else listed, *tables)
        if not tables:
            screen.say("There are none.")


def status(ctx: typer.Context, name: Name, kind: AnyKind = None, url: Url = None, output: OutputForm = None) -> None:
    """How a job or a deployment stands, and why it does not run."""
    with session(ctx, url, output) as (client, screen):
        thing = client.find(name, kind)
        screen.show(thing.status.raw, *views.status_view(thing))


def logs(
    ctx: typer.Context,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the log is complete.")] = False,
    tail: Annotated[int | None, typer.Option("--tail", min=0, help="Only the last lines.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", parser=since, metavar="AGE", help="Only the last 90s, 10m, 2h, or from a time."),
    ] = None,
    replica: Annotated[int, typer.Option("--replica", min=0, help="Which of a deployment's servers.")] = 0,
    kind: AnyKind = None,
    url: Url = None,
) -> None:
    """Print the log of a job or a deployment."""
    with session(ctx, url, None) as (client, screen):
        for line in client.logs(name, kind, follow=follow, tail=tail, since=since, replica=replica):
            screen.line(line)


def profiles(ctx: typer.Context, url: Url = None, output: OutputForm = None) -> None:
    """List the kinds of model that can be trained and served, with their hyperparameters."""
    with session(ctx, url, output) as (client, screen):
        known = client.profiles()
        screen.show({"items": [profile.raw for profile in known]}, views.profile_table(known))


def _spelled(status: str | None, known: type[Word]) -> str | None:
    """`status` as the API spells it; a word that is not known here is left to the gateway to judge."""
    return next((phase.value for phase in known if status and phase.casefold() == status.casefold()), status)


def _noun_of(status: str | None) -> Noun | None:
    """Which of the two has such a status; None if both do, or neither."""
    kinds = ((Noun.JOBS, JobPhase), (Noun.DEPLOYMENTS, DeploymentPhase))
    nouns = [noun for noun, known in kinds if status and _spelled(status, known) in set(known)]
    return nouns[0] if len(nouns) == 1 else None
