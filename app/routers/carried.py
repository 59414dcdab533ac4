"""A request that came to the API for want of a ready replica, when there is one after all."""

from __future__ import annotations

from fastapi import Response
from starlette.types import Receive, Scope, Send


class Carried(Response):
    """Gives the request, of which nothing was read, to the proxy once more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].state.proxy(scope, receive, send)
