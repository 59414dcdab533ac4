"""The gateway's predict path with one fixed route, in front of an app that knows nothing: what the bench serves.

The port of the one replica comes from BENCH_UPSTREAM.
"""

from __future__ import annotations

import os
from typing import Any

from app.core.addresses import Address
from app.core.routing import Backend, RouteSpec
from app.core.settings import PredictSettings
from app.proxy.asgi import PredictProxy
from app.proxy.metrics import Metrics
from app.proxy.routes import RouteTable


async def nothing_here(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


routes = RouteTable(Metrics())
upstream = Address("127.0.0.1", int(os.environ["BENCH_UPSTREAM"]))
routes.update({"bench": RouteSpec((Backend((upstream,)),))})
app = PredictProxy(nothing_here, routes, PredictSettings())
