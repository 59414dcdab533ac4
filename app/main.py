"""The gateway's ASGI application: routers, error table, lifespan; the predict path stands in front of all."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app import __version__
from app.bootstrap import Platform
from app.proxy.asgi import PredictProxy
from app.routers import catalog, docs, errors, health, inference, predictions, protocols, train
from app.routers.body_limit import BodyLimit
from app.routers.request_id import RequestId

_API = "/api/v1"


def create_app(platform: Platform) -> PredictProxy:
    """The whole application. `platform` is opened and closed with its lifespan."""
    api, settings = create_api(platform), platform.settings
    behind = RequestId(api)
    platform.inside.app = PredictProxy(behind, platform.routes, settings.predict_later)
    proxy = api.state.proxy = PredictProxy(behind, platform.routes, settings.predict)
    return proxy


def create_api(platform: Platform) -> FastAPI:
    """The routes without the predict path in front."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await platform.open()
        try:
            yield
        finally:
            await platform.close()

    app = FastAPI(
        title="Modelyard",
        version=__version__,
        description="Train, deploy and call models.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=errors.RESPONSES,
        generate_unique_id_function=_operation_id,
    )
    app.state.platform = platform
    errors.install(app)
    http, later = platform.settings.http, platform.settings.deferred
    app.add_middleware(
        BodyLimit, limit=http.max_body_bytes, prediction_limit=later.max_body_bytes, seconds=http.body_seconds
    )
    for router in (train.router, inference.router, protocols.router, predictions.router):
        app.include_router(router, prefix=_API)
        app.include_router(router, include_in_schema=False)  # the published contract prints some without a prefix
    app.include_router(catalog.router, prefix=_API)
    app.include_router(health.router)
    docs.install(app)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name
