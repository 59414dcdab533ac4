"""An archive in a bucket of S3, or of a store that speaks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import partial
from typing import Any, TypeVar

from app.archive.base import Entry, Missing, Occupied
from app.archive.settings import ArchiveSettings
from app.core.errors import ArchiveUnavailable

_THREADS = 8
_PER_DELETE = 1000  # the most that S3 deletes at once
_ABSENT, _THERE = {"NoSuchKey", "404"}, {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
T = TypeVar("T")


class S3Archive:
    """An `Archive`. `put_new` needs a store that keeps `If-None-Match: *`, as S3 and MinIO do.

    Threads of its own: a store that hangs holds up nothing else.
    """

    def __init__(self, bucket: str, prefix: str, settings: ArchiveSettings) -> None:
        self._bucket, self._prefix, self._settings = bucket, f"{prefix}/" if prefix else "", settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="archive")
        self._client: Any = None

    async def put(self, key: str, content: bytes) -> None:
        await self._run(lambda s3: s3.put_object(**self._named(key), Body=content))

    async def put_new(self, key: str, content: bytes) -> None:
        await self._run(lambda s3: s3.put_object(**self._named(key), Body=content, IfNoneMatch="*"))

    async def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if length == 0:
            return b""
        end = "" if length is None else start + length - 1

        def read(s3: Any) -> bytes:
            content: bytes = s3.get_object(**self._named(key), Range=f"bytes={start}-{end}")["Body"].read()
            return content

        return await self._run(read)

    async def entries(self, prefix: str, after: str = "") -> list[Entry]:
        def read(s3: Any) -> list[Entry]:
            asked = {"Bucket": self._bucket, "Prefix": self._prefix + prefix}
            if after:
                asked["StartAfter"] = self._prefix + after
            pages = s3.get_paginator("list_objects_v2").paginate(**asked)
            found = [item for page in pages for item in page.get("Contents", [])]
            skip = len(self._prefix)
            return [Entry(one["Key"][skip:], one["Size"], one["LastModified"].astimezone(UTC)) for one in found]

        return await self._run(read)

    async def delete(self, keys: list[str]) -> None:
        for start in range(0, len(keys), _PER_DELETE):
            await self._run(partial(self._delete, keys[start : start + _PER_DELETE]))

    def _delete(self, keys: list[str], s3: Any) -> None:
        objects = [{"Key": self._prefix + key} for key in keys]
        answer = s3.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        if errors := answer.get("Errors"):
            raise ArchiveUnavailable(f"The bucket {self._bucket} keeps {len(errors)} objects: {errors[0].get('Code')}")

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    async def _run(self, work: Callable[[Any], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._translated, work)

    def _translated(self, work: Callable[[Any], T]) -> T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return work(self._s3())
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "no code"))
            if code in _ABSENT:
                raise Missing(self._bucket) from error
            if code in _THERE:
                raise Occupied(self._bucket) from error
            raise ArchiveUnavailable(f"The bucket {self._bucket} refuses {error.operation_name}: {code}.") from error
        except BotoCoreError as error:
            raise ArchiveUnavailable(f"The bucket {self._bucket} does not serve: {type(error).__name__}.") from error

    def _s3(self) -> Any:
        """Made in a thread at its first use: boto3 costs half a second and 30 MB."""
        if self._client is None:
            self._client = _client(self._settings)
        return self._client


def _client(settings: ArchiveSettings) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=5,
        read_timeout=20,
        retries={"mode": "standard", "max_attempts": 3},
        max_pool_connections=_THREADS,
        s3={"addressing_style": "path"},  # names of buckets are no hosts in most stores but Amazon's
        request_checksum_calculation="when_required",  # older S3 stores answer checksums with errors
        response_checksum_validation="when_required",
    )
    return boto3.Session(region_name=settings.region or None).client(
        "s3",
        config=config,
        endpoint_url=settings.endpoint or None,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
    )
