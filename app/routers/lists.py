"""What all lists have in common: page size and token."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

PageSize = Annotated[int, Query(alias="pageSize", ge=1, le=500, description="how many items at most")]
PageToken = Annotated[
    str,
    Query(alias="pageToken", max_length=200, description="the nextPageToken of the page before; empty for the first"),
]
DryRun = Annotated[
    bool, Query(alias="dryRun", description="check everything, say what would be launched, launch nothing")
]
