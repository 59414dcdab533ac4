"""Views: jobs and deployments as tables and sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.table import Table

from modelyard.cli.screen import printable
from modelyard.records import Condition, Deployment, DeploymentStatus, Job, JobStatus, Progress

_METRICS_SHOWN = 4


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
    head = [(thing.kind.capitalize(), thing.task_id), ("Status", thing.status.phase), ("Why", why(thing.status))]
    notes = [("Note", note) for note in thing.status.notes]
    shown = [(name, value) for name, value in [*head, *facts, *notes] if value]
    return [_table(None, shown), *([condition_table(thing.status.conditions)] if thing.status.conditions else [])]


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
    """Where it stands, beside a progress bar."""
    counted = f"{ready(status)} ready" if isinstance(status, DeploymentStatus) else ""
    return "  ".join(part for part in (status.phase, counted, status.message) if part)


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
    ended = status.termination
    exit_words = f" (exit code {ended.exit_code})" if ended and ended.exit_code is not None else ""
    signal_words = f" ({ended.signal})" if ended and ended.signal else ""
    return [
        ("Progress", percent(status.progress)),
        ("Metrics", metrics(status.progress)),
        ("MLflow run", status.mlflow_run_id or ""),
        ("Ended", f"{ended.reason}: {ended.message}{signal_words or exit_words}" if ended else ""),
    ]


def _deployment_facts(status: DeploymentStatus) -> list[tuple[str, str]]:
    return [
        ("Replicas", f"{ready(status)} ready"),
        ("Restarts", str(status.restarts or "")),
        ("MLflow run", status.mlflow_run_id or ""),
        ("Version", status.model_version or ""),
    ]


def _table(titles: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=titles is not None)
    for title in titles or ("", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    return table
