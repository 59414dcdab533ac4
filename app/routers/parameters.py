"""Query parameters that several routes share, and the rule that an unknown one is never ignored."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, HTTPException, Query, Request
from fastapi.routing import APIRoute

from app.core.errors import InvalidParameter

PageSize = Annotated[int, Query(alias="pageSize", ge=1, le=500, description="how many items at most")]
PageToken = Annotated[
    str, Query(alias="pageToken", max_length=200, description="the nextPageToken of the page before; empty at first")
]
DryRun = Annotated[bool, Query(alias="dryRun", description="check all, say what would be launched, launch nothing")]


async def _known_only(request: Request) -> None:
    """Refuse a misspelt parameter: `?dryrun=true` must not launch. Nothing that we keep is named with a NUL."""
    if "\0" in request.url.path:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {parameter.alias for parameter in route.dependant.query_params}
    for name, value in request.query_params.multi_items():
        if name not in known:
            offered = f"known are {', '.join(sorted(known))}." if known else "there are none here."
            raise InvalidParameter(name, f"there is no such parameter; {offered}")
        if "\0" in value:
            raise InvalidParameter(name, "must not contain the character NUL")


KnownOnly = Depends(_known_only)
