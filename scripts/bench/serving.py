"""Our inference server beside others: the same models, one core for the server, the other for wrk.

Contenders take turns: in each round each of them is started, checked, measured and ended. The columns: requests a
second for one row over one connection, one row over 64, 64 rows over 64; times of one row over 64 connections; the
server's CPU time a request over 64; seconds from the start to the first right answer; memory. "bad" counts what was
not answered 200 in time, "wrong" what was answered otherwise than the model itself does, among requests that differ and
are asked over 64 connections at once. Rounds that others disturb are repeated, --patience times at most.

The last line is the same as JSON. Needs two cores. The first run installs the peers, some of which are large.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import answers
import machine
import packages
from answers import Question
from contenders import CONTENDERS, Contender, Place, Unknown, chosen
from load import Round, post, post_in_quiet
from samples import SAMPLES, Sample
from servers import free_port, leave_nothing_running, running

SERVER_CORE, LOAD_CORE = 0, 1
CELLS = {"1x1": (1, 1), "1x64": (1, 64), "64x64": (64, 64)}  # rows of a request, connections
START_SECONDS = 120
CHECKED = 512  # requests, each with rows of its own


@dataclass
class Result:
    """What one contender did with one model, in all rounds."""

    contender: str
    model: str
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    ready: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)
    proportional: list[float] = field(default_factory=list)
    checked: int = 0
    wrong: int = 0
    failure: str | None = None

    def median(self, cell: str, number: str) -> float | None:
        """Over the quiet rounds; over all where none was."""
        rounds = self.rounds.get(cell, [])
        counted = [done for done in rounds if done.quiet] or rounds
        return statistics.median(getattr(done, number) for done in counted) if counted else None

    @property
    def bad(self) -> int:
        return sum(done.errors for rounds in self.rounds.values() for done in rounds)

    @property
    def quiet(self) -> str:
        rounds = [done for rounds in self.rounds.values() for done in rounds]
        return f"{sum(done.quiet for done in rounds)}/{len(rounds)}"

    def content(self) -> dict[str, Any]:
        """As JSON: the medians, and every round."""
        medians = {cell: {name: self.median(cell, name) for name in ("rate", "p50", "p99", "cpu")} for cell in CELLS}
        return asdict(self) | {"medians": medians, "bad": self.bad}


@contextmanager
def prepared(sample: Sample, home: Path, names: list[str]) -> Iterator[tuple[Path, str]]:
    """The folder with the model as peers load it, and the MLflow that our own server asks."""
    home.mkdir()
    sample.save(home)
    if "mlflow" in names:
        sample.save_for_mlflow(home / "mlflow")
    with ExitStack() as stack:
        tracking = ""
        if {"ours", "ours+v2"} & set(names):
            folder = packages.package(sample, home / "package")
            tracking = stack.enter_context(packages.tracking({sample.name: folder}))
        yield home, tracking


def one_round(result: Result, place: Place, contender: Contender, options: argparse.Namespace) -> None:
    sample, began = place.sample, time.monotonic()
    rows, wants = sample.rows, sample.wants
    first = Question(json.dumps(contender.body(rows[:1])).encode(), wants[:1])
    with running(
        contender.command, place.port, core=SERVER_CORE,
        environment=contender.environment, folder=contender.folder, limit=START_SECONDS,
    ) as pid:  # fmt: skip
        _await_answer(place.port, contender, first, began + START_SECONDS)
        result.ready.append(time.monotonic() - began)
        questions = [_question(contender, sample, number) for number in range(CHECKED)]
        result.wrong += answers.wrong_among(place.port, contender.path, questions, 64, contender.predictions)
        result.checked += len(questions)
        for cell, (count, connections) in CELLS.items():
            body = place.folder / f"body-{count}.json"
            body.write_text(json.dumps(contender.body(rows[:count])))
            url = f"http://127.0.0.1:{place.port}{contender.path}"
            load: dict[str, Any] = {"connections": connections, "core": LOAD_CORE, "server": pid}
            post(url, body, seconds=1, **load)  # warm up
            done = post_in_quiet(url, body, seconds=options.seconds, repeats=options.patience, **load)
            result.rounds.setdefault(cell, []).append(done)
        resident, proportional = machine.memory_megabytes(pid)
        result.resident.append(resident)
        result.proportional.append(proportional)


def _question(contender: Contender, sample: Sample, number: int) -> Question:
    """One to three rows, other ones than those before and behind."""
    length, count = len(sample.rows), number % 3 + 1
    picked = [(number * 7 + step * 5) % length for step in range(count)]
    body = contender.body([sample.rows[at] for at in picked])
    return Question(json.dumps(body).encode(), [sample.wants[at] for at in picked])


def _await_answer(port: int, contender: Contender, question: Question, end: float) -> None:
    while True:
        try:
            if answers.ask(port, contender.path, question, contender.predictions):
                return
        except (OSError, http.client.HTTPException, ValueError):
            pass
        if time.monotonic() > end:
            raise RuntimeError("It gave no right answer in time.")
        time.sleep(0.02)


def compare(options: argparse.Namespace, names: list[str]) -> list[Result]:
    results = {(model, name): Result(name, model) for model in options.models for name in names}
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-serving-")))
        worlds = {}
        for model in options.models:
            sample = SAMPLES[model]()
            worlds[model] = sample, *stack.enter_context(prepared(sample, home / model, names))
        for number in range(options.rounds):
            for result in results.values():
                sample, models, tracking = worlds[result.model]
                with tempfile.TemporaryDirectory(prefix="bench-server-") as folder:
                    _try(result, Place(sample, models, tracking, Path(folder), free_port()), options)
            print(f"round {number + 1} of {options.rounds} done", file=sys.stderr, flush=True)
    return list(results.values())


def _try(result: Result, place: Place, options: argparse.Namespace) -> None:
    """One round, or what hindered it: the others go on."""
    try:
        one_round(result, place, CONTENDERS[result.contender](place), options)
    except (RuntimeError, OSError) as failure:
        result.failure = str(failure)
        print(f"{result.contender} failed with {result.model}: {failure}", file=sys.stderr, flush=True)


def table(results: list[Result]) -> str:
    lines = [
        "| server | 1 row, c=1: req/s | 1 row, c=64 | 64 rows, c=64 | p50 ms | p99 ms | p99/p50 "
        "| CPU us: 1 row | 64 rows | ready s | RSS MB | PSS MB | bad | wrong | quiet |",
        "|---" + "|--:" * 14 + "|",
    ]
    for one in results:
        if not one.rounds:
            words = str(one.failure).splitlines()[0].replace("|", " ")
            lines.append(f"| {one.contender} | {words} |" + " |" * 13)
            continue
        rates = (_shown(one.median(cell, "rate"), 1, 0) for cell in CELLS)
        p50, p99 = one.median("1x64", "p50"), one.median("1x64", "p99")
        times = _shown(p50, 1000, 2), _shown(p99, 1000, 2), _ratio(p99, p50)
        numbers = (
            *rates, *times, *(_shown(one.median(cell, "cpu"), 1, 0) for cell in ("1x64", "64x64")),
            f"{statistics.median(one.ready):.2f}", f"{statistics.median(one.resident):.0f}",
            f"{statistics.median(one.proportional):.0f}", str(one.bad), f"{one.wrong}/{one.checked}", one.quiet,
        )  # fmt: skip
        lines.append(f"| {one.contender} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def ratios(results: list[Result]) -> str:
    """Our rates divided by each contender's, and each one's p99 by ours: above 1 we are ahead."""
    own = next((one for one in results if one.contender == "ours" and one.rounds), None)
    if own is None or len(results) < 2:
        return ""
    lines = ["| ours / server | 1 row, c=1 | 1 row, c=64 | 64 rows, c=64 | its p99 / ours |", "|---" + "|--:" * 4 + "|"]
    for one in results:
        if one is not own and one.rounds:
            rates = (_ratio(own.median(cell, "rate"), one.median(cell, "rate")) for cell in CELLS)
            tail = _ratio(one.median("1x64", "p99"), own.median("1x64", "p99"))
            lines.append(f"| {one.contender} | {' | '.join(rates)} | {tail} |")
    return "\n" + "\n".join(lines)


def _shown(number: float | None, unit: float, places: int) -> str:
    return "" if number is None else f"{number / unit:,.{places}f}"


def _ratio(number: float | None, other: float | None) -> str:
    return f"{number / other:.2f}" if number is not None and other else ""


def report(results: list[Result], options: Mapping[str, Any]) -> None:
    print(f"serving: medians of {options['rounds']} rounds of {options['seconds']} s. {machine.describe()}")
    for model in dict.fromkeys(one.model for one in results):
        of_model = [one for one in results if one.model == model]
        print(f"\n{model}\n\n{table(of_model)}\n{ratios(of_model)}")
    content = {"machine": machine.describe(), "options": options, "results": [one.content() for one in results]}
    print(f"\n{json.dumps(content)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"contenders, with commas: {', '.join(CONTENDERS)}")
    parser.add_argument("--model", default=",".join(SAMPLES), help="with commas (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default %(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (default %(default)s)")
    parser.add_argument(
        "--patience", type=int, default=5, help="tries until a measurement is quiet (default %(default)s)"
    )
    options = parser.parse_args()
    options.models = options.model.split(",")
    if unknown := set(options.models) - set(SAMPLES):
        parser.error(f"there is no model {', '.join(sorted(unknown))}; known are {', '.join(SAMPLES)}")
    if (os.cpu_count() or 1) < 2:
        parser.error("two cores are needed: one for the server, one for the load")
    try:
        names = list(dict.fromkeys(chosen(options.only)))
    except Unknown as unknown_name:
        parser.error(str(unknown_name))
    leave_nothing_running()
    report(compare(options, names), vars(options))


if __name__ == "__main__":
    main()
