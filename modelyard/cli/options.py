"""Options that several commands share, and how their words are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli.places import gateway_url
from modelyard.cli.screen import Output, Screen
from modelyard.client import Client
from modelyard.records import Kind

RETRIES = 3  # a person at a terminal wants to know sooner than a program does

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """Seconds in 90, 90s, 10m, 2h or 1d."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", text.strip())
    if not match:
        raise typer.BadParameter(f"{text!r} is no duration: write 90s, 10m, 2h or 1d.")
    return float(match[1]) * _UNITS[match[2]]


def since(text: str) -> str:
    """An age, in whole seconds, or an RFC 3339 time; the API reads both."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return str(math.ceil(duration(text)))
    return text


def hyperparameters(assignments: Sequence[str]) -> dict[str, Any]:
    """Of key=value each: numbers and booleans as in JSON, everything else a string. A later key replaces an earlier."""
    pairs = (assignment.partition("=") for assignment in assignments)
    found = {}
    for key, equals, value in pairs:
        if not key or not equals:
            raise typer.BadParameter(f"{key!r} has no value: write -p {key or 'name'}=value.", param_hint="-p")
        found[key] = _number_or_boolean(value)
    return found


def json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"This is not JSON: {error}.") from error


def location(text: str) -> str:
    """Where a dataset or a model lies: a path that exists here becomes absolute; others must be absolute."""
    path = Path(text).expanduser()
    if "://" in text or text.startswith(("runs:/", "models:/")):
        return text
    if path.exists():
        return str(path.resolve())
    if not path.is_absolute():
        raise typer.BadParameter(f"There is no {text!r} here, and the gateway takes only absolute paths.")
    return str(path)


@contextmanager
def session(ctx: typer.Context, url: str | None, output: Output | None) -> Iterator[tuple[Client, Screen]]:
    """The gateway and the screen of one command; its own options win over those before its name."""
    global_url, global_output = ctx.obj
    with Client(url or global_url or gateway_url(), retries=RETRIES) as client:
        yield client, Screen(output or global_output)


def _number_or_boolean(value: str) -> bool | int | float | str:
    try:
        read = json.loads(value)
    except ValueError:
        return value
    if isinstance(read, bool | int) or (isinstance(read, float) and math.isfinite(read)):
        return read
    return value


Url = Annotated[
    str | None,
    typer.Option("--url", help="The gateway's address; else MODELYARD_URL, else the one that `yard up` started."),
]
OutputForm = Annotated[
    Output | None, typer.Option("--output", "-o", help="json prints the API's JSON and nothing else on stdout.")
]
Name = Annotated[str, typer.Argument(help="The task id of a job or a deployment.", show_default=False)]
AnyKind = Annotated[Kind | None, typer.Option("--kind", help="Which one, where a job and a deployment share a name.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Stay until it is done, showing progress.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", parser=duration, metavar="DURATION", help="Wait no longer than 90s, 10m, 2h."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be launched, and launch nothing.")]
MinReplicas = Annotated[
    int | None, typer.Option("--min-replicas", min=0, help="Follow the load with no fewer; 0 sleeps when it is idle.")
]
MaxReplicas = Annotated[int | None, typer.Option("--max-replicas", min=1, help="Follow the load with no more.")]
TargetConcurrency = Annotated[
    int | None, typer.Option("--target-concurrency", min=1, help="Predictions in flight for each replica, on average.")
]
IdleSeconds = Annotated[int | None, typer.Option("--idle-seconds", min=1, help="Without a prediction until it sleeps.")]
