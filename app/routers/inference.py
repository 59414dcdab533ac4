"""Deployments over HTTP."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from app.core.conditions import DeploymentPhase
from app.core.errors import DeploymentNotFound
from app.core.names import server_name
from app.dependencies import CurrentPlatform, Deployments, Logs
from app.routers.answers import accepted, planned
from app.routers.logs import LOG_RESPONSES, Follow, LastEventId, Replica, Since, Tail, log_response
from app.routers.parameters import DryRun, KnownOnly, PageSize, PageToken
from app.schemas.catalog import DryRunAnswer
from app.schemas.deployments import DeploymentAnswer, DeploymentPage, DeploymentPatch, DeployRequest
from app.schemas.status import DeploymentStatusAnswer

router = APIRouter(prefix="/inference", tags=["inference"], dependencies=[KnownOnly])


@router.post(
    "/deployments",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=DeploymentAnswer,
    responses={200: {"model": DeploymentAnswer | DryRunAnswer, "description": "An equal one exists, or a dry run"}},
)
async def create_deployment(
    request: Request, body: DeployRequest, deployments: Deployments, platform: CurrentPlatform, dry_run: DryRun = False
) -> Response:
    """Serve a model. Sending the same body again answers 200 with the same deployment."""
    if dry_run:
        return planned(DryRunAnswer(runtime=platform.runtime_name, launch=dict(await deployments.dry_run(body))))
    deployment, is_new = await deployments.deploy(body)
    location = f"{request.url.path}/{deployment.task_id}"
    return accepted(DeploymentAnswer.of(deployment), is_new=is_new, location=location)


@router.get("/deployments")
async def list_deployments(
    deployments: Deployments,
    page_size: PageSize = 50,
    page_token: PageToken = "",
    status: Annotated[DeploymentPhase | None, Query(description="only deployments with this status")] = None,
    model_profile: Annotated[str | None, Query(alias="modelProfile", max_length=100)] = None,
) -> DeploymentPage:
    """Deployments, newest first."""
    page = await deployments.list(size=page_size, token=page_token, phase=status, profile=model_profile)
    items = [DeploymentAnswer.of(deployment) for deployment in page.items]
    return DeploymentPage(items=items, next_page_token=page.next_token)


@router.get("/deployments/{taskId}")
async def get_deployment(taskId: str, deployments: Deployments) -> DeploymentAnswer:  # noqa: N803
    return DeploymentAnswer.of(await deployments.get(taskId))


@router.get("/deployments/{taskId}/status")
async def get_deployment_status(taskId: str, deployments: Deployments) -> DeploymentStatusAnswer:  # noqa: N803
    """Whether it answers, and if not, why not."""
    return DeploymentStatusAnswer.of(await deployments.get(taskId))


@router.get("/deployments/{taskId}/logs", response_class=Response, responses=LOG_RESPONSES)
async def get_deployment_logs(
    taskId: str,  # noqa: N803
    deployments: Deployments,
    logs: Logs,
    replica: Replica = 0,
    tail: Tail = None,
    since: Since = None,
    follow: Follow = False,
    last_event_id: LastEventId = None,
) -> Response:
    """What one replica of the server wrote, over its restarts."""
    await deployments.get(taskId)

    async def is_over() -> bool:
        try:
            await deployments.get(taskId)
        except DeploymentNotFound:
            return True
        return False

    async def end() -> str:
        return json.dumps(None)

    return await log_response(
        logs, server_name(taskId), replica=replica, tail=tail, since=since, follow=follow,
        last_event_id=last_event_id, is_over=is_over, end=end,
    )  # fmt: skip


@router.patch("/deployments/{taskId}")
async def change_deployment(taskId: str, body: DeploymentPatch, deployments: Deployments) -> DeploymentAnswer:  # noqa: N803
    """Change the number of replicas, or the model. Another model is rolled out while the present one serves on.

    What is so already changes nothing, but naming the model of a rollout that failed tries it once more.
    """
    return DeploymentAnswer.of(await deployments.change(taskId, body))


@router.delete("/deployments/{taskId}", status_code=status.HTTP_202_ACCEPTED)
async def delete_deployment(taskId: str, deployments: Deployments) -> DeploymentAnswer:  # noqa: N803
    """Remove a deployment. It answers 404 once it is gone; until then repeating this changes nothing."""
    return DeploymentAnswer.of(await deployments.delete(taskId))
