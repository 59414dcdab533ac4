"""Archives of both bodies: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
from moto.server import ThreadedMotoServer

from app.archive.base import Archive
from app.archive.settings import ArchiveSettings, open_archive


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
    s3.create_bucket(Bucket="logs")
    yield url
    server.stop()


@pytest.fixture(params=["folder", "s3"])
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    if request.param == "folder":
        settings = ArchiveSettings(f"file://{quote(str(tmp_path / 'a folder'))}")
    else:
        url = f"s3://logs/{tmp_path.name}"
        settings = ArchiveSettings(url, request.getfixturevalue("endpoint"), "us-east-1", "k", "s")
    archive = open_archive(settings)
    yield archive
    await archive.close()
