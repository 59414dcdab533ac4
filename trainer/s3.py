"""S3: objects in chunks, with the credentials and the endpoint of the usual AWS_... environment variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from trainer.addresses import shown
from trainer.families.base import DataUnreadable

CHUNK_BYTES = 1 << 20
_SENTENCES = {
    "NoSuchKey": "does not exist",
    "NoSuchBucket": "does not exist: there is no such bucket",
    "404": "does not exist",
    "AccessDenied": "may not be read with these credentials",
    "403": "may not be read with these credentials",
    "InvalidAccessKeyId": "may not be read: the access key id is not known there",
    "SignatureDoesNotMatch": "may not be read: the secret access key is wrong",
}


def is_folder(source: str) -> bool:
    """Whether the address names all objects under a prefix: it ends with a slash."""
    return source.endswith("/")


def chunks(source: str, what: str) -> Iterator[bytes]:
    """The object's bytes. Raises `DataUnreadable`."""
    bucket, key = _bucket_and_key(source)
    with _translated(source, what):
        yield from _client().get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK_BYTES)


def download_folder(source: str, folder: Path, what: str) -> None:
    """Every object under the prefix as a file in `folder`. Raises `DataUnreadable`, also if there is none."""
    bucket, prefix = _bucket_and_key(source)
    with _translated(source, what):
        client = _client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", []) if found["Key"][-1] != "/"]
        if not keys:
            raise DataUnreadable(f"The {what} {shown(source)} does not exist: no object begins so.")
        for key in keys:
            file = folder / _relative(key.removeprefix(prefix))
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(file))


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name.lstrip("/"))
    if ".." in path.parts:
        raise DataUnreadable(f"An object's name leads out of its folder: {name[:100]!r}.")
    return path


def _bucket_and_key(source: str) -> tuple[str, str]:
    """By hand, because a key may hold `?` and `#`."""
    bucket, _, key = source.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise DataUnreadable(f"The address {shown(source)} is incomplete; it must be s3://bucket/key.")
    return bucket, key


def _client() -> Any:
    import boto3
    from botocore.config import Config

    settings = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 3},
        request_checksum_calculation="when_required",  # older S3 stores answer checksums with errors
        response_checksum_validation="when_required",
    )
    return boto3.Session().client("s3", config=settings)


@contextmanager
def _translated(source: str, what: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "no code"))
        raise DataUnreadable(
            f"The {what} {shown(source)} {_SENTENCES.get(code, f'cannot be read: {code}')}."
        ) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        sentence = "needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise DataUnreadable(f"The {what} {shown(source)} {sentence}.") from error
    except BotoCoreError as error:
        raise DataUnreadable(f"The {what} {shown(source)} cannot be fetched: {type(error).__name__}.") from error
