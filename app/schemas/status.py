"""What jobs and deployments say of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field

from app.core.conditions import Condition, DeploymentPhase, JobPhase, Status, Termination, find
from app.core.scaling import Wake, usual_seconds
from app.core.tasks import Deployment, Job
from app.runtimes.base import Story
from app.schemas.wire import Answer, Moment
from inference_server.contract import Facts


class ConditionAnswer(Answer):
    type: str
    status: Status
    reason: str
    message: str
    last_transition_time: Moment

    @classmethod
    def of(cls, condition: Condition) -> ConditionAnswer:
        return cls(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            last_transition_time=condition.last_transition_time,
        )


class TerminationAnswer(Answer):
    reason: str
    exit_code: int | None
    signal: str | None
    message: str
    finish_time: Moment

    @classmethod
    def of(cls, termination: Termination) -> TerminationAnswer:
        return cls(
            reason=termination.reason,
            exit_code=termination.exit_code,
            signal=termination.signal,
            message=termination.message,
            finish_time=termination.finished_at,
        )


class ProgressAnswer(Answer):
    percent: float | None = Field(description="0 to 100; null before the first epoch")
    metrics: dict[str, float | None] = Field(description="the newest value of each; null where it is no finite number")


class JobStatusAnswer(Answer):
    """`status` is one word derived from `conditions`; `reason` and `message` are those of the condition behind it."""

    task_id: str
    status: JobPhase
    reason: str
    message: str
    conditions: list[ConditionAnswer]
    progress: ProgressAnswer
    mlflow_run_id: str | None
    termination: TerminationAnswer | None
    notes: list[str]
    create_time: Moment
    start_time: Moment | None
    end_time: Moment | None

    @classmethod
    def of(cls, job: Job) -> JobStatusAnswer:
        seen = job.status
        behind = _behind(seen.conditions, _JOB_CONDITIONS[seen.phase])
        return cls(
            task_id=job.task_id,
            status=seen.phase,
            reason=behind.reason if behind else "",
            message=behind.message if behind else "",
            conditions=[ConditionAnswer.of(condition) for condition in seen.conditions],
            progress=ProgressAnswer(percent=seen.progress, metrics=dict(seen.metrics)),
            mlflow_run_id=seen.run_id,
            termination=TerminationAnswer.of(seen.termination) if seen.termination else None,
            notes=list(seen.notes),
            create_time=job.created_at,
            start_time=seen.started_at,
            end_time=seen.ended_at,
        )


class RunAnswer(Answer):
    """One run of the job's program: a pod, or a process."""

    name: str
    node: str
    image_id: str
    exit_code: int | None
    reason: str
    start_time: Moment | None
    end_time: Moment | None


class EventAnswer(Answer):
    about: str = Field(examples=["Pod/train-reg-01-x7k2p"])
    type: str
    reason: str
    message: str
    count: int
    first_time: Moment
    last_time: Moment


class JobEventsAnswer(Answer):
    """The oldest first. Kept beside the log when the job's pods are gone."""

    task_id: str
    runs: list[RunAnswer]
    events: list[EventAnswer]

    @classmethod
    def of(cls, task_id: str, story: Story) -> JobEventsAnswer:
        runs = [
            RunAnswer(
                name=run.name, node=run.node, image_id=run.image_id, exit_code=run.exit_code, reason=run.reason,
                start_time=run.started_at, end_time=run.ended_at,
            )
            for run in story.runs
        ]  # fmt: skip
        events = [
            EventAnswer(
                about=one.about, type=one.type, reason=one.reason, message=one.message, count=one.count,
                first_time=one.first_at, last_time=one.last_at,
            )
            for one in story.events
        ]  # fmt: skip
        return cls(task_id=task_id, runs=runs, events=events)


class ReplicasAnswer(Answer):
    wanted: int
    ready: int


class FactsAnswer(Answer):
    """What was measured of the model when it was registered, on one CPU thread.

    `served` is `compiled` or `original`, and `reason` says why. A batch has `bestBatch` rows: larger ones do not pay.
    """

    served: str = Field(examples=["compiled"])
    reason: str
    load_seconds: float
    peak_memory_bytes: int
    best_batch: int
    row_p50_seconds: float
    row_p99_seconds: float
    batch_p50_seconds: float
    batch_p99_seconds: float

    @classmethod
    def of(cls, facts: Facts) -> FactsAnswer:
        return cls(**asdict(facts))


class WakeAnswer(Answer):
    """A start from no replica to the first that was ready: its phases in seconds, which add up to the total."""

    schedule: float = Field(description="until there was a place for it")
    pull: float = Field(description="its image was fetched")
    start: float = Field(description="its process began")
    fetch: float = Field(description="the model was fetched")
    load: float
    warm_up: float
    total: float
    finish_time: Moment

    @classmethod
    def of(cls, wake: Wake) -> WakeAnswer:
        phases = {phase.name.lower(): seconds for phase, seconds in wake.seconds.items()}
        return cls(**phases, total=round(wake.total, 3), finish_time=wake.finished_at)


class DeploymentStatusAnswer(Answer):
    """`status` is one word derived from `conditions`; `reason` and `message` are those of the condition behind it.

    `servingRevision`, `mlflowRunId` and `modelVersion` are of the model that was last rolled out to every replica
    (before the first one was, of the wanted one). While `revision` is another, the condition `Progressing` tells how
    far its rollout is. `lastWake` is its last start from no replica, the first one too, and `wakeSeconds` what one is
    expected to take, judged by the last ones; `wakes` counts how often a prediction woke it.
    """

    task_id: str
    status: DeploymentPhase
    reason: str
    message: str
    conditions: list[ConditionAnswer]
    replicas: ReplicasAnswer
    restarts: int
    wakes: int
    wake_seconds: float | None
    last_wake: WakeAnswer | None
    revision: int
    serving_revision: int | None = Field(description="null until every replica was ready for the first time")
    mlflow_run_id: str
    model_version: str | None
    facts: FactsAnswer | None = Field(description="of that model; null if nobody measured it")
    notes: list[str]
    create_time: Moment

    @classmethod
    def of(cls, deployment: Deployment) -> DeploymentStatusAnswer:
        seen = deployment.status
        behind = _behind(seen.conditions, ("Ready",))
        serving = seen.serving
        facts = (serving.spec if serving else deployment.spec).facts
        return cls(
            task_id=deployment.task_id,
            status=seen.phase,
            reason=behind.reason if behind else "",
            message=behind.message if behind else "",
            conditions=[ConditionAnswer.of(condition) for condition in seen.conditions],
            replicas=ReplicasAnswer(wanted=deployment.spec.replicas, ready=seen.ready),
            restarts=seen.restarts,
            wakes=deployment.woken,
            wake_seconds=usual_seconds(seen.wakes),
            last_wake=WakeAnswer.of(seen.wakes[-1]) if seen.wakes else None,
            revision=deployment.revision,
            serving_revision=serving.revision if serving else None,
            mlflow_run_id=serving.run_id if serving else deployment.run_id,
            model_version=serving.model_version if serving else deployment.model_version,
            facts=FactsAnswer.of(facts) if facts else None,
            notes=list(seen.notes),
            create_time=deployment.created_at,
        )


def _behind(conditions: Sequence[Condition], types: Sequence[str]) -> Condition | None:
    """The condition that explains a summary word: the first of `types` that is known."""
    return next((found for type_ in types if (found := find(conditions, type_))), None)


_JOB_CONDITIONS: dict[JobPhase, tuple[str, ...]] = {
    JobPhase.QUEUED: ("Scheduled", "Accepted"),
    JobPhase.STARTING: ("Started", "Scheduled"),
    JobPhase.RUNNING: ("Started",),
    JobPhase.SUCCEEDED: ("Complete",),
    JobPhase.FAILED: ("Failed",),
    JobPhase.CANCELLED: ("Cancelled",),
}
