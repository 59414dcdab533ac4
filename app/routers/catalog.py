"""What the platform offers: model profiles and capabilities."""

from __future__ import annotations

from fastapi import APIRouter

from app import __version__
from app.dependencies import CurrentPlatform
from app.schemas.catalog import CapabilitiesAnswer, ProfileAnswer, ProfileList, RuntimeAnswer, TrackingAnswer

router = APIRouter(tags=["catalog"])


@router.get("/profiles")
async def list_profiles(platform: CurrentPlatform) -> ProfileList:
    """The kinds of models that can be trained and served, with their hyperparameters and resources."""
    return ProfileList(items=[ProfileAnswer.of(name, profile) for name, profile in platform.profiles.items()])


@router.get("/capabilities")
async def get_capabilities(platform: CurrentPlatform) -> CapabilitiesAnswer:
    """What this installation can do."""
    runtime = await platform.runtime.capabilities()
    return CapabilitiesAnswer(
        version=__version__,
        runtime=RuntimeAnswer(
            name=runtime.name,
            gpus=runtime.gpus,
            isolation_gaps=list(runtime.isolation_gaps),
            details=dict(runtime.details),
        ),
        tracking=TrackingAnswer(uri=platform.tracking.uri),
        predict_deadline_seconds=platform.settings.predict.deadline_seconds,
    )
