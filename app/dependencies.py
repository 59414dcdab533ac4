"""From a request to the service that answers it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.bootstrap import Platform
from app.services.deployments import DeploymentService
from app.services.logs import LogService
from app.services.predictions import PredictionService
from app.services.training import TrainingService


async def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


CurrentPlatform = Annotated[Platform, Depends(_platform)]


async def _training(platform: CurrentPlatform) -> TrainingService:
    return platform.training


async def _deployments(platform: CurrentPlatform) -> DeploymentService:
    return platform.deployments


async def _predictions(platform: CurrentPlatform) -> PredictionService:
    return platform.predictions


async def _logs(platform: CurrentPlatform) -> LogService:
    return platform.logs


Training = Annotated[TrainingService, Depends(_training)]
Deployments = Annotated[DeploymentService, Depends(_deployments)]
Predictions = Annotated[PredictionService, Depends(_predictions)]
Logs = Annotated[LogService, Depends(_logs)]
