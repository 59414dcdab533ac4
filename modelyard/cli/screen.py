"""The screen: answers go to stdout, as tables or as the API's JSON; everything else that is said goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from modelyard.errors import Cause, ModelyardError

_ADVICE = {"ambiguous": "Add --kind job or --kind deployment."}
WIDE = 240  # columns of a table that goes to a file or a pipe, where wrapped cells would break grep


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


class Meter(Protocol):
    """Takes how far something is: `percent`, None where that is not known; in words; and what changes all the time."""

    def __call__(self, percent: float | None, words: str, ticker: str = "") -> None: ...


class Screen:
    def __init__(self, output: Output) -> None:
        self.wants_json = output is Output.JSON
        self._stderr = stderr()

    def say(self, sentence: str) -> None:
        """Tell the person in front of it; never on stdout."""
        self._stderr.print(Text(printable(sentence)), soft_wrap=True)

    def show(self, raw: object, *table: RenderableType) -> None:
        """The answer: `raw` where JSON is wanted, else the table."""
        if self.wants_json:
            self.show_json(raw)
            return
        console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False)
        for number, part in enumerate(table):
            console.print(*([""] if number else []), part, sep="\n")

    def show_json(self, content: object) -> None:
        sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def line(self, text: str) -> None:
        """One line of a log, as it came, at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    @contextmanager
    def meter(self, title: str) -> Iterator[Meter]:
        """A progress bar on a terminal; elsewhere a line for each change of words and each tenth of the way."""
        if not self._stderr.is_terminal:
            yield _LineMeter(self, title)
            return
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            TimeElapsedColumn(),
            console=self._stderr,
        ) as progress:
            task = progress.add_task(printable(title), total=None, words="")

            def show(percent: float | None, words: str, ticker: str = "") -> None:
                total = None if percent is None else 100.0
                progress.update(task, total=total, completed=percent or 0.0, words=printable(f"{words}  {ticker}"))

            yield show


class _LineMeter:
    def __init__(self, screen: Screen, title: str) -> None:
        self._screen, self._title = screen, title
        self._told: tuple[int | None, str] | None = None

    def __call__(self, percent: float | None, words: str, ticker: str = "") -> None:
        news = (None if percent is None else int(percent // 10), words)
        if news != self._told:
            self._told = news
            share = "" if percent is None else f"{percent:.0f} %"
            self._screen.say("  ".join(part for part in (self._title, share, words, ticker) if part))


def stderr() -> Console:
    return Console(file=sys.stderr, stderr=True, highlight=False, markup=False)


def report(error: ModelyardError) -> None:
    """An error for people: what happened, what to change where, and what to quote when asking for help."""
    causes = [_cause(cause, error.detail) for cause in error.causes]
    request = [f"  request id: {error.request_id}"] if error.request_id else []
    advice = [f"  {_ADVICE[error.code]}"] if error.code in _ADVICE else []
    console = stderr()
    for line in [f"Error: {error.detail}", *causes, *advice, *request]:
        console.print(Text(printable(line)), soft_wrap=True)


def _cause(cause: Cause, said: str) -> str:
    place = cause.pointer or "the body"
    return f"  at {place}" if cause.detail in said else f"  {place}: {cause.detail}"


def printable(text: str) -> str:
    """Text of others on our terminal: no control characters, so no escape sequences."""
    return "".join(character if character.isprintable() else " " for character in text)
