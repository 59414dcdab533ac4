"""A gateway over real HTTP for each test, and clients whose pauses are written down instead of slept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from modelyard import Client
from tests.fakes.gateway import FakeGateway


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as fake:
        yield fake


@pytest.fixture
def pauses() -> list[float]:
    """What the client would have slept, in seconds."""
    return []


@pytest.fixture
def client(gateway: FakeGateway, pauses: list[float]) -> Iterator[Client]:
    with Client(gateway.url, sleep=pauses.append) as made:
        yield made
