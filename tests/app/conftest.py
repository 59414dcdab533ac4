"""What most tests of the gateway need: a running one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.platform import Yard, yard


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Yard]:
    async with yard(tmp_path) as running:
        yield running
