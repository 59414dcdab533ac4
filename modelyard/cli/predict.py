"""`yard predict` and `yard result`: ask a deployed model, now or for an answer later."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from modelyard.cli.options import OutputForm, Timeout, Url, Wait, duration, json_value, session
from modelyard.cli.screen import Screen
from modelyard.errors import ModelyardError
from modelyard.records import Prediction


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
        float | None,
        typer.Option(
            "--timeout",
            parser=duration,
            metavar="DURATION",
            help="How long all of it may take; else 10s until it is ready, and 75s in all.",
            show_default=False,
        ),
    ] = None,
    later: Annotated[
        bool, typer.Option("--async", help="Print an id now; `yard result ID` prints the answer later.")
    ] = False,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Ask a deployed model; its answer is printed as JSON."""
    if stdin not in (None, "-"):
        raise typer.BadParameter(f"{stdin!r} is unexpected here; only - (stdin) may stand behind the task.")
    if sum(source is not None for source in (stdin, features, data, file)) != 1:
        raise typer.BadParameter("Give one of --features, --data, --file and -.")
    with session(ctx, url, output) as (client, screen):
        question = _question(features, data, file, user)
        if later:
            _show_accepted(screen, client.predict_async(task, **question))
        else:
            screen.show_json(client.predict(task, **question, timeout=timeout, on_repeat=_Waiting(screen)))


def result(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="What `yard predict --async` printed.", show_default=False)],
    wait: Wait = False,
    timeout: Timeout = None,
    url: Url = None,
    output: OutputForm = None,
) -> None:
    """Print the answer to a prediction that was asked for with --async; exit code 4 while there is none."""
    with session(ctx, url, output) as (client, screen):
        screen.show_json(client.result(id, timeout=timeout if wait else 0))


def _question(features: str | None, data: str | None, file: str | None, user: str | None) -> dict[str, Any]:
    """What `Client.predict` is asked with."""
    if features is not None:
        return {"features": json_value(features), "user_id": user}
    if data is not None:
        return {"data": json_value(data), "user_id": user}
    return {"body": _body(file or "-")}


def _show_accepted(screen: Screen, prediction: Prediction) -> None:
    """The id alone on stdout, for scripts; or the API's JSON."""
    if screen.wants_json:
        screen.show_json(prediction.raw)
        return
    screen.line(prediction.id)
    screen.say(f"Its answer: yard result {prediction.id} --wait")


class _Waiting:
    """Says what the gateway has us wait for, each thing once."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._said: set[str] = set()

    def __call__(self, error: ModelyardError) -> None:
        if error.status is not None and error.detail not in self._said:
            self._said.add(error.detail)
            self._screen.say(f"waiting: {error.detail}")


def _body(source: str) -> Any:
    try:
        return json_value(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{source} cannot be read: {error}.") from error
