"""Views: jobs and deployments as tables and sentences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from modelyard.cli.screen import printable
from modelyard.records import (
    Condition,
    Deployment,
    DeploymentStatus,
    Job,
    JobPhase,
    JobStatus,
    Profile,
    Progress,
    Termination,
    Wake,
)

_METRICS_SHOWN = 4
_BAD_ENDS = (JobPhase.FAILED, JobPhase.CANCELLED)  # a deployment's Failed is the same word


def job_table(jobs: Iterable[Job]) -> Table:
    rows = (
        (j.task_id, j.status.phase, percent(j.status.progress), j.model_profile, j.experiment_name, age(j.create_time))
        for j in jobs
    )
    return _table(("JOB", "STATUS", "PROGRESS", "PROFILE", "EXPERIMENT", "AGE"), rows)


def deployment_table(deployments: Iterable[Deployment]) -> Table:
    rows = (
        (d.task_id, d.status.phase, ready(d.status), d.model_profile, d.model_id, age(d.create_time))
        for d in deployments
    )
    return _table(("DEPLOYMENT", "STATUS", "READY", "PROFILE", "MODEL", "AGE"), rows)


def status_view(thing: Job | Deployment) -> list[Table]:
    """All that is known of one job or deployment, its conditions last."""
    facts = _job_facts(thing.status) if isinstance(thing, Job) else _deployment_facts(thing.status)
    end = thing.status.termination if isinstance(thing, Job) else None
    ended = ("Ended", f"{end.reason}: {end.message}{_exit(end)}" if end else "")
    head = [(thing.kind.capitalize(), thing.task_id), ("Status", thing.status.phase), ("Why", why(thing.status))]
    notes = [("Note", note) for note in thing.status.notes]
    conditions = [condition_table(thing.status.conditions)] if thing.status.conditions else []
    return [_facts([*head, *facts, ended, *notes]), *conditions]


def failure_table(thing: Job | Deployment) -> Table:
    """Of one that failed: all but the conditions and the message, which the error says."""
    status = thing.status
    if isinstance(status, DeploymentStatus):
        return _facts([("Status", status.phase), *_deployment_facts(status)])
    end = status.termination
    return _facts([("Status", status.phase), *_job_facts(status), ("Ended", end.reason + _exit(end) if end else "")])


def profile_table(profiles: Iterable[Profile]) -> Table:
    """A row for each hyperparameter, and one for a profile that has none."""
    rows = (
        (p.name, p.family, name, *(_hyperparameter(declared) if name else ("", "", "")))
        for p in profiles
        for name, declared in (p.hyperparameters or {"": {}}).items()
    )
    return _table(("PROFILE", "FAMILY", "HYPERPARAMETER", "TYPE", "DEFAULT", "ALLOWED"), rows)


def condition_table(conditions: Sequence[Condition]) -> Table:
    rows = ((c.type, c.status, c.reason, age(c.last_transition_time), c.message) for c in conditions)
    return _table(("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)


def why(status: JobStatus | DeploymentStatus) -> str:
    """The reason and the sentence behind the summary word."""
    return ": ".join(part for part in (status.reason, status.message) if part)


def percent(progress: Progress | None) -> str:
    return "" if progress is None or progress.percent is None else f"{progress.percent:.0f} %"


def ready(status: DeploymentStatus) -> str:
    return f"{status.replicas.ready}/{status.replicas.wanted}"


def in_words(status: JobStatus | DeploymentStatus) -> str:
    """Where it stands, beside a progress bar; why it failed is for the error to say."""
    message = "" if status.phase in _BAD_ENDS else status.message
    counted = f"{ready(status)} ready" if isinstance(status, DeploymentStatus) else ""
    return "  ".join(part for part in (status.phase, counted, message) if part)


def metrics(progress: Progress | None) -> str:
    if progress is None:
        return ""
    known = [(name, value) for name, value in sorted(progress.metrics.items()) if value is not None]
    return "  ".join(f"{name} {value:.4g}" for name, value in known[:_METRICS_SHOWN])


def age(moment: datetime | None) -> str:
    """How long ago, in the largest unit that is at least two of."""
    if moment is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - moment.astimezone(UTC)).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _job_facts(status: JobStatus) -> list[tuple[str, str]]:
    return [
        ("Progress", percent(status.progress)),
        ("Metrics", metrics(status.progress)),
        ("MLflow run", status.mlflow_run_id or ""),
    ]


def _exit(end: Termination) -> str:
    if end.signal:
        return f" ({end.signal})"
    return "" if end.exit_code is None else f" (exit code {end.exit_code})"


def _hyperparameter(declared: Mapping[str, Any]) -> tuple[str, str, str]:
    """Its type, its default, and what it may be."""
    low, high = declared.get("minimum"), declared.get("maximum")
    bounds = "" if low is None and high is None else f"{_number(low)}..{_number(high)}"
    choices = "|".join(map(str, declared.get("choices") or ()))
    return str(declared.get("type", "")), json.dumps(declared.get("default")), choices or bounds


def _number(bound: float | None) -> str:
    return "" if bound is None else f"{bound:.10g}"


def _facts(facts: Iterable[tuple[str, str]]) -> Table:
    return _table(None, [(name, value) for name, value in facts if value])


def _deployment_facts(status: DeploymentStatus) -> list[tuple[str, str]]:
    return [
        ("Replicas", f"{ready(status)} ready"),
        ("Restarts", str(status.restarts or "")),
        ("MLflow run", status.mlflow_run_id or ""),
        ("Version", status.model_version or ""),
        ("Last wake", _wake(status.last_wake) if status.last_wake else ""),
    ]


def _wake(wake: Wake) -> str:
    phases = ("schedule", "pull", "start", "fetch", "load", "warm_up")
    taken = ", ".join(f"{phase.replace('_', '-')} {getattr(wake, phase):.2f}" for phase in phases)
    return f"{wake.total:.2f} s ({taken})"


def _table(titles: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=titles is not None)
    for title in titles or ("", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    return table
