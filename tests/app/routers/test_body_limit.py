"""Bodies that the API reads come within bounds, in size and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.platform import Yard, yard

URL = "/api/v1/train/jobs"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path, http={"body_seconds": 0.2}) as running:
        yield running


async def test_a_body_that_never_ends_is_refused(gateway: Yard) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        answer = await gateway.client.post(URL, content=drip(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (408, "request-timeout")
    assert answer.headers["connection"] == "close"


async def test_a_body_that_comes_in_pieces_is_read(gateway: Yard) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"[", b"1", b"]"):
            await asyncio.sleep(0)
            yield piece

    answer = await gateway.client.post(URL, content=pieces(), headers={"content-type": "application/json"})
    assert answer.json()["code"] == "invalid-request"
