"""`yard` itself: the commands, what they share, and the exit code of each kind of failure."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import modelyard
from modelyard.cli import change, gateway, look, predict, submit
from modelyard.cli.options import OutputForm, Url
from modelyard.cli.screen import Output, report
from modelyard.errors import ModelyardError, NotFound, TimedOut


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"yard {modelyard.__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which yard it is.")]
FAILED, NOT_FOUND, TIMED_OUT = 1, 3, 4  # 2, wrong usage, is the parser's


class Commands(TyperGroup):
    """Commands whose failures are sentences and exit codes, never tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModelyardError as error:
            report(error)
            raise typer.Exit(_exit_code(error)) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def shared(ctx: typer.Context, url: Url = None, output: OutputForm = None, version: Version = False) -> None:
    """Train, deploy and call models."""
    ctx.obj = (url, output or Output.TABLE)


app.command()(gateway.up)
app.command()(gateway.down)
app.command()(submit.train)
app.command()(submit.deploy)
app.command()(predict.predict)
app.command()(predict.result)
app.command()(look.ls)
app.command()(look.status)
app.command()(look.logs)
app.command()(look.profiles)
app.command()(change.scale)
app.command()(change.update)
app.command()(change.delete)


def main() -> None:
    app()


def _exit_code(error: ModelyardError) -> int:
    if isinstance(error, NotFound):
        return NOT_FOUND
    return TIMED_OUT if isinstance(error, TimedOut) else FAILED
