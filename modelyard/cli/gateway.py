"""`yard up` and `yard down`: the platform on this machine, from a checkout."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import httpx2
import typer
from rich.table import Table

from modelyard.cli.home import Gateway, Home, url_of
from modelyard.cli.options import OutputForm, Yes, duration, session
from modelyard.cli.places import find_checkout, gateway_url, home_of
from modelyard.cli.readiness import PORT_TAKEN, PROBE_TIMEOUT, Readiness
from modelyard.cli.screen import Output, Screen, printable
from modelyard.client import Client
from modelyard.errors import ModelyardError
from modelyard.waiting import wait_until

START_TIMEOUT = 120.0  # seconds; MLflow, on a small machine, is the slow part
PROBE_PERIOD = 0.2  # seconds
LAST_LINES, LAST_BYTES = 20, 100_000

Checkout = Annotated[
    Path | None,
    typer.Option("--checkout", help="Modelyard's source folder; else where yard was installed from, or this folder."),
]
HomeFolder = Annotated[
    Path | None,
    typer.Option("--home", envvar="MLOPS_HOME", help="The state folder; else .modelyard in the source folder."),
]


def up(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option("--host", envvar="MLOPS_HTTP__HOST", help="The address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", envvar="MLOPS_HTTP__PORT", min=1, max=65535, help="The port to listen on.")
    ] = 8000,
    checkout: Checkout = None,
    home: HomeFolder = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay in this terminal, as the gateway.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", parser=duration, metavar="DURATION", help="How long it may take to start.")
    ] = str(START_TIMEOUT),  # type: ignore[assignment]  # the parser reads the default too
    output: OutputForm = None,
) -> None:
    """Start the platform on this machine. Says so if it runs already."""
    source, place = _places(checkout, home)
    running = place.gateway()
    if running is None:
        _check_port(url_of(host, port))
    if foreground:
        place.become_gateway(source, host, port)
    log_start = place.log.stat().st_size if place.log.exists() else 0
    gateway = running or place.spawn_gateway(source, host, port)
    with session(ctx, gateway.url, output) as (client, screen):
        if running:
            screen.say(f"The platform runs already, at {running.url}.")
        try:
            ready = _await_ready(screen, place, gateway, timeout, log_start)
        except ModelyardError as error:
            if error.code == PORT_TAKEN and not running:
                gateway.stop()
                place.forget_gateway()
            raise
        _introduce(client, screen, ready, place)


def down(
    ctx: typer.Context,
    checkout: Checkout = None,
    home: HomeFolder = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Stop the gateway only; jobs, servers and MLflow go on.")
    ] = False,
    data: Annotated[bool, typer.Option("--data", help="Remove the state folder too: models, runs, logs.")] = False,
    yes: Yes = False,
) -> None:
    """Stop the platform on this machine. Jobs leave a checkpoint to go on from."""
    if data and keep_running:
        raise typer.BadParameter("--data cannot go with --keep-running: what runs needs its files.")
    source, place = _places(checkout, home)
    screen = Screen(Output.TABLE)
    if not place.path.exists():
        screen.say(f"Nothing runs here: there is no {place.path}.")
        return
    if data:
        _check_removable(place, source)
        if not yes:
            typer.confirm(f"Remove {place.path}, with all models, runs and logs?", abort=True, err=True)
    _stop_gateway(place, screen)
    if not keep_running:
        _stop_the_rest(source, place, screen)
    if data:
        shutil.rmtree(place.path)
        screen.say(f"{place.path} is removed.")


def _places(checkout: Path | None, home: Path | None) -> tuple[Path, Home]:
    if source := find_checkout(checkout):
        return source, home_of(source, home)
    where = checkout or Path.cwd()
    raise typer.BadParameter(
        f"{where} is no checkout of Modelyard (app/, model_profiles.yaml). Name one with --checkout."
    )


def _check_port(url: str) -> None:
    place = httpx2.URL(url)
    try:
        socket.create_connection((place.host, place.port), timeout=PROBE_TIMEOUT).close()
    except OSError:
        return
    advice = "Choose another port with --port, or with MLOPS_HTTP__PORT."
    raise ModelyardError(f"Another program answers at {url}. {advice}", code=PORT_TAKEN)


def _await_ready(screen: Screen, place: Home, spawned: Gateway, timeout: float, log_start: int) -> Gateway:
    """The gateway, once /readyz is content; it may be another than ours, if two were started at once."""

    def ask(_: float) -> Readiness:
        gateway = place.gateway() or spawned
        if not gateway.is_alive:
            for line in _last_lines(place.log, log_start):
                screen.say(f"  {line}")
            raise ModelyardError(
                f"The gateway ended while it was starting; its log is {place.log}.", code="not-started"
            )
        seen = Readiness.of(gateway)
        if seen.hopeless:
            raise ModelyardError(seen.hopeless, code=PORT_TAKEN)
        return seen

    with screen.meter("Starting") as meter:
        ready = wait_until(
            ask,
            lambda seen: seen.ok,
            timeout=timeout,
            patience=timeout,
            late=lambda seen: f"Not ready after {timeout:g} seconds ({seen}). It goes on starting; see {place.log}.",
            on_progress=lambda seen: meter(None, str(seen)),
            slowest=PROBE_PERIOD,
        )
    return ready.gateway


def _introduce(client: Client, screen: Screen, gateway: Gateway, place: Home) -> None:
    tracking = client.capabilities().get("tracking")
    mlflow = tracking.get("uri") if isinstance(tracking, dict) else None
    raw = {
        "url": gateway.url,
        "docs": f"{gateway.url}/docs",
        "mlflow": mlflow,
        "log": str(place.log),
        "pid": gateway.pid,
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    for title, key in (("Gateway", "url"), ("API docs", "docs"), ("MLflow", "mlflow"), ("Log", "log")):
        table.add_row(title, printable(str(raw[key] or "")))
    screen.show(raw, table)
    if gateway_url() != gateway.url:
        screen.say(f"For the other commands: export MODELYARD_URL={gateway.url}")


def _stop_gateway(place: Home, screen: Screen) -> None:
    gateway = place.gateway()
    if gateway is None:
        screen.say("No gateway runs.")
        return
    screen.say("Stopping the gateway ...")
    gateway.stop()
    if gateway.is_alive:
        raise ModelyardError(f"The gateway (process {gateway.pid}) does not end, even killed.", code="not-stopped")
    place.forget_gateway()
    screen.say("The gateway has stopped.")


def _stop_the_rest(source: Path, place: Home, screen: Screen) -> None:
    """Jobs, which leave checkpoints, servers and MLflow; the local runtime knows them."""
    words = [sys.executable, "-m", "app.runtimes.local", "stop", "--home", str(place.path)]
    with subprocess.Popen(words, cwd=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as stopping:
        for line in stopping.stdout or ():
            screen.say(line.rstrip("\n"))
    if stopping.returncode:
        raise ModelyardError(f"Stopping jobs and servers failed (exit code {stopping.returncode}).", code="not-stopped")


def _check_removable(place: Home, source: Path) -> None:
    """Refuse to remove a folder that no gateway ever ran from: a mistyped --home must not cost someone's files."""
    if not place.was_used or place.path.resolve() in (source, *source.parents, Path.home(), *Path.home().parents):
        raise ModelyardError(f"{place.path} is not a state folder of Modelyard, so it stays.", code="not-a-home")


def _last_lines(log: Path, start: int) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - LAST_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
