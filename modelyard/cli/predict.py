"""`yard predict`: ask a deployed model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli.options import OutputForm, Url, duration, json_value, session
from modelyard.client import PREDICT_TIMEOUT


def predict(
    ctx: typer.Context,
    task: Annotated[str, typer.Argument(help="The task id of the deployment.", show_default=False)],
    stdin: Annotated[str | None, typer.Argument(metavar="[-]", help="- reads the whole body from stdin.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="JSON", help="Rows, such as '[[5.1, 3.5], [4.9, 3.0]]'.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="JSON", help="What the model's family reads, as an object.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", metavar="PATH", help="The whole body from a file; - is stdin.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", help="A userId to send along, with --features or --data.")
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", parser=duration, metavar="DURATION", help="Wait no longer for the answer.")
    ] = str(PREDICT_TIMEOUT),  # type: ignore[assignment]  # the parser reads the default too
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Ask a deployed model; its answer is printed as JSON."""
    if stdin not in (None, "-"):
        raise typer.BadParameter(f"{stdin!r} is unexpected here; only - (stdin) may stand behind the task.")
    if sum(source is not None for source in (stdin, features, data, file)) != 1:
        raise typer.BadParameter("Give one of --features, --data, --file and -.")
    with session(ctx, url, output) as (client, screen):
        if features is not None:
            answer = client.predict(task, features=json_value(features), user_id=user, timeout=timeout)
        elif data is not None:
            answer = client.predict(task, data=json_value(data), user_id=user, timeout=timeout)
        else:
            answer = client.predict(task, body=_body(file or "-"), timeout=timeout)
        screen.show_json(answer)


def _body(source: str) -> Any:
    try:
        return json_value(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{source} cannot be read: {error}.") from error
