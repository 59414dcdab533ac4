"""Probes and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import prometheus_client
import structlog
from fastapi import APIRouter, Response

from app.core.errors import Outage
from app.dependencies import CurrentPlatform
from app.schemas.catalog import CheckAnswer, ReadinessAnswer

log = structlog.get_logger(__name__)
router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": ReadinessAnswer}})
async def ready(platform: CurrentPlatform, response: Response) -> ReadinessAnswer:
    """Whether the store, MLflow and the runtime answer, each by name. 503 if one does not."""
    checks = platform.checks
    found = await asyncio.gather(*(_check(name, check) for name, check in checks.items()))
    ok = all(check.ok for check in found)
    response.status_code = 200 if ok else 503
    return ReadinessAnswer(status="ok" if ok else "unavailable", checks=dict(zip(checks, found, strict=True)))


@router.get("/metrics", response_class=Response)
async def metrics(platform: CurrentPlatform) -> Response:
    """Prometheus metrics."""
    return Response(prometheus_client.generate_latest(platform.registry), media_type="text/plain; version=0.0.4")


async def _check(name: str, check: Callable[[], Awaitable[None]]) -> CheckAnswer:
    try:
        await check()
    except Outage as outage:
        log.debug("not_ready", check=name, cause=str(outage))
        return CheckAnswer(ok=False, code=outage.code, message=outage.public)
    return CheckAnswer(ok=True, code="", message="")
