"""Make the databases and buckets that are not there yet: a Job of the cluster, harmless when repeated.

It waits for stores that are still starting. What it says never holds a password.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

PATIENCE_SECONDS = 300
DATABASES = ("MLOPS_STORE__URL", "MLFLOW_BACKEND_STORE_URI")


class NotYet(Exception):  # noqa: N818 - the name says what it is
    """A store does not answer, or refuses."""


def main() -> int:
    works = [*(lambda name=name: make_database(name) for name in DATABASES), make_buckets]
    end = time.monotonic() + PATIENCE_SECONDS
    for work in works:
        if not in_time(work, end):
            return 1
    return 0


def in_time(work: Callable[[], None], end: float) -> bool:
    said = ""
    while True:
        try:
            work()
        except NotYet as not_yet:
            if time.monotonic() > end:
                print(f"Given up: {not_yet}", file=sys.stderr)
                return False
            if str(not_yet) != said:
                said = str(not_yet)
                print(f"Waiting: {said}", flush=True)
            time.sleep(1)
        else:
            return True


def make_database(variable: str) -> None:
    """The database that a URL names; only if it cannot be entered, so that no more rights are needed than to use it."""
    import psycopg2

    url = urlsplit(os.environ[variable])
    name = unquote(url.path.lstrip("/"))
    login = {
        "host": url.hostname,
        "port": url.port or 5432,
        "user": unquote(url.username or ""),
        "password": unquote(url.password or ""),
        "connect_timeout": 5,
    }
    try:
        psycopg2.connect(dbname=name, **login).close()
        print(f"The database {name} is there.", flush=True)
        return
    except psycopg2.OperationalError as error:
        if "does not exist" not in str(error):
            raise NotYet(f"{variable}: {first_line(error)}") from None
    create_database(name, login)


def create_database(name: str, login: dict[str, object]) -> None:
    import psycopg2
    from psycopg2 import errors, sql

    try:
        connection = psycopg2.connect(dbname="postgres", **login)
        connection.autocommit = True  # a database cannot be made in a transaction
        try:
            connection.cursor().execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except errors.DuplicateDatabase:
            pass
        finally:
            connection.close()
    except psycopg2.Error as error:
        raise NotYet(f"The database {name} cannot be made: {first_line(error)}") from None
    print(f"The database {name} was made.", flush=True)


def make_buckets() -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client("s3", config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1}))
    for name in sorted(value for key, value in os.environ.items() if key.startswith("BUCKET_") and value):
        try:
            client.head_bucket(Bucket=name)
            print(f"The bucket {name} is there.", flush=True)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise NotYet(f"The bucket {name} cannot be seen: {error}") from None
            create_bucket(client, name)
        except BotoCoreError as error:
            raise NotYet(f"The object store does not answer: {error}") from None


def create_bucket(client: object, name: str) -> None:
    from botocore.exceptions import ClientError

    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        client.create_bucket(Bucket=name, **where)  # type: ignore[attr-defined]  # boto3 has no types
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise NotYet(f"The bucket {name} cannot be made: {error}") from None
    print(f"The bucket {name} was made.", flush=True)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    sys.exit(main())
