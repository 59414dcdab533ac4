"""Training jobs over HTTP."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.core.conditions import JobPhase
from app.core.names import job_name
from app.dependencies import CurrentPlatform, Logs, Training
from app.routers.answers import accepted, planned
from app.routers.logs import LOG_RESPONSES, Follow, LastEventId, Since, Tail, log_response
from app.routers.parameters import DryRun, KnownOnly, PageSize, PageToken
from app.schemas.catalog import DryRunAnswer
from app.schemas.status import JobEventsAnswer, JobStatusAnswer
from app.schemas.training import JobAnswer, JobPage, TrainRequest

router = APIRouter(prefix="/train/jobs", tags=["training"], dependencies=[KnownOnly])


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=JobAnswer,
    responses={200: {"model": JobAnswer | DryRunAnswer, "description": "An equal job exists, or a dry run"}},
)
async def create_training_job(
    request: Request, body: TrainRequest, training: Training, platform: CurrentPlatform, dry_run: DryRun = False
) -> Response:
    """Train a model. Sending the same body again answers 200 with the same job, so a retry never doubles it."""
    if dry_run:
        return planned(DryRunAnswer(runtime=platform.runtime_name, launch=dict(training.dry_run(body))))
    job, is_new = await training.submit(body)
    return accepted(JobAnswer.of(job), is_new=is_new, location=f"{request.url.path}/{job.task_id}")


@router.get("")
async def list_training_jobs(
    training: Training,
    page_size: PageSize = 50,
    page_token: PageToken = "",
    status: Annotated[JobPhase | None, Query(description="only jobs with this status")] = None,
    experiment_name: Annotated[str | None, Query(alias="experimentName", max_length=250)] = None,
    model_profile: Annotated[str | None, Query(alias="modelProfile", max_length=100)] = None,
) -> JobPage:
    """Training jobs, newest first."""
    page = await training.list(
        size=page_size, token=page_token, phase=status, experiment=experiment_name, profile=model_profile
    )
    return JobPage(items=[JobAnswer.of(job) for job in page.items], next_page_token=page.next_token)


@router.get("/{taskId}")
async def get_training_job(taskId: str, training: Training) -> JobAnswer:  # noqa: N803
    return JobAnswer.of(await training.get(taskId))


@router.get("/{taskId}/status")
async def get_training_job_status(taskId: str, training: Training) -> JobStatusAnswer:  # noqa: N803
    """Where a job stands: one word, the conditions behind it, progress, and how it ended."""
    return JobStatusAnswer.of(await training.get(taskId))


@router.get("/{taskId}/events")
async def get_training_job_events(taskId: str, training: Training) -> JobEventsAnswer:  # noqa: N803
    """What happened to a job's runs: where they ran, how they ended, and what the cluster said of them."""
    return JobEventsAnswer.of(taskId, await training.story(taskId))


@router.get("/{taskId}/logs", response_class=Response, responses=LOG_RESPONSES)
async def get_training_job_logs(
    taskId: str,  # noqa: N803
    training: Training,
    logs: Logs,
    tail: Tail = None,
    since: Since = None,
    follow: Follow = False,
    last_event_id: LastEventId = None,
) -> Response:
    """What the trainer wrote."""
    await training.get(taskId)

    async def is_over() -> bool:
        return (await training.get(taskId)).status.phase.is_final

    async def end() -> str:
        answer = JobStatusAnswer.of(await training.wait_until_final(taskId))
        return json.dumps(answer.model_dump(mode="json", by_alias=True)["termination"])

    return await log_response(
        logs, job_name(taskId), replica=0, tail=tail, since=since, follow=follow,
        last_event_id=last_event_id, is_over=is_over, end=end,
    )  # fmt: skip


@router.delete("/{taskId}", status_code=status.HTTP_202_ACCEPTED)
async def stop_training_job(taskId: str, training: Training) -> JobAnswer:  # noqa: N803
    """Stop a job. Its record, log and MLflow run stay; repeating this, or stopping an ended job, changes nothing."""
    return JobAnswer.of(await training.stop(taskId))
