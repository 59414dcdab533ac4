"""Sources: paths, a web server and an S3 server on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from inference_server.digest import directory_digest
from tests.support.http_server import serving
from trainer.addresses import shown
from trainer.families.base import DataUnreadable
from trainer.sources import fetch

CONTENT = b"a,b\n" + b"1,2\n" * 1000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Shop(BaseHTTPRequestHandler):
    """Has one table, one that breaks off, and nothing else."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        known = path in ("/table.csv", "/half.csv")
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(CONTENT) if known else 0))
        self.end_headers()
        if known:
            self.wfile.write(CONTENT[: 100 if path == "/half.csv" else None])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    with serving(Shop) as url:
        yield url


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield client
    server.stop()


def test_a_path_is_copied_with_its_digest(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(CONTENT)
    fetched = fetch(str(tmp_path / "table.csv"), tmp_path / "work")
    assert (fetched.path.read_bytes(), fetched.digest, fetched.size) == (CONTENT, DIGEST, len(CONTENT))
    assert fetched.path.name == "table.csv"


def test_what_was_fetched_before_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(CONTENT)
    first = fetch(str(tmp_path / "table.csv"), tmp_path / "work")
    (tmp_path / "table.csv").unlink()
    assert fetch(str(tmp_path / "table.csv"), tmp_path / "work") == first


def test_what_was_fetched_in_half_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/table.csv").write_bytes(CONTENT[:50])
    (tmp_path / "table.csv").write_bytes(CONTENT)
    assert fetch(str(tmp_path / "table.csv"), tmp_path / "work").digest == DIGEST


def test_a_folder_stays_where_it_is_and_its_digest_covers_names_and_contents(tmp_path: Path) -> None:
    images = tmp_path / "images"
    (images / "rose").mkdir(parents=True)
    (images / "rose/1.png").write_bytes(b"1")
    fetched = fetch(str(images), tmp_path / "work")
    assert (fetched.path, fetched.digest) == (images, directory_digest(images))
    (images / "rose/1.png").rename(images / "rose/2.png")
    assert directory_digest(images) != fetched.digest


def test_an_archive_is_unpacked_and_its_digest_is_the_archive_s(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flowers.zip", "w") as archive:
        archive.writestr("rose/1.png", b"1")
    fetched = fetch(str(tmp_path / "flowers.zip"), tmp_path / "work")
    assert (fetched.path / "rose/1.png").read_bytes() == b"1"
    assert fetched.digest == f"sha256:{hashlib.sha256((tmp_path / 'flowers.zip').read_bytes()).hexdigest()}"


def test_a_web_address_is_fetched(tmp_path: Path, shop: str) -> None:
    fetched = fetch(f"{shop}/table.csv?token=secret", tmp_path / "work")
    assert (fetched.digest, fetched.path.name) == (DIGEST, "table.csv")


def test_an_object_is_fetched(tmp_path: Path, bucket: Any) -> None:
    bucket.put_object(Bucket="data", Key="in/table #1?.csv", Body=CONTENT)
    assert fetch("s3://data/in/table #1?.csv", tmp_path / "work").digest == DIGEST


def test_all_objects_under_a_prefix_become_a_folder(tmp_path: Path, bucket: Any) -> None:
    for key in ("images/rose/1.png", "images/tulip/1.png", "other/x"):
        bucket.put_object(Bucket="data", Key=key, Body=key.encode())
    fetched = fetch("s3://data/images/", tmp_path / "work")
    assert {path.relative_to(fetched.path).as_posix() for path in fetched.path.rglob("*.png")} == {
        "rose/1.png",
        "tulip/1.png",
    }


def refusal(source: str, folder: Path) -> str:
    with pytest.raises(DataUnreadable) as refused:
        fetch(source, folder)
    return str(refused.value)


def test_what_cannot_be_fetched_is_refused_in_a_sentence_without_secrets(tmp_path: Path, shop: str) -> None:
    work = tmp_path / "work"
    (tmp_path / "empty.csv").touch()
    assert refusal(str(tmp_path / "none.csv"), work) == f"The dataset {tmp_path / 'none.csv'} does not exist."
    assert refusal(str(tmp_path / "empty.csv"), work) == f"The dataset {tmp_path / 'empty.csv'} is empty."
    assert refusal("gs://bucket/key", work).startswith("The dataset's address begins with gs://")
    private = shop.replace("http://", "http://user:secret@")
    assert refusal(f"{private}/none.csv?token=secret", work) == (
        f"The dataset {shop}/none.csv is not available: the server answered 404."
    )
    assert "cannot be fetched" in refusal(f"{shop}/half.csv", work)
    nowhere = refusal("http://user:secret@127.0.0.1:1/x.csv?token=secret", work)
    assert nowhere == "The dataset http://127.0.0.1:1/x.csv cannot be fetched: the server cannot be reached."


def test_what_s3_does_not_give_is_refused_in_a_sentence(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    assert refusal("s3://data/none.csv", work) == "The dataset s3://data/none.csv does not exist."
    assert "there is no such bucket" in refusal("s3://nowhere/none.csv", work)
    assert "does not exist: no object begins so" in refusal("s3://data/none/", work)
    assert "must be s3://bucket/key" in refusal("s3://data", work)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "needs credentials" in refusal("s3://data/none.csv", work)


def test_a_server_that_is_away_is_named_for_s3_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    assert "cannot be fetched: EndpointConnectionError" in refusal("s3://data/none.csv", tmp_path / "work")


def test_addresses_are_shown_without_what_may_be_secret() -> None:
    assert shown("https://user:password@host:8080/a.csv?token=x#y") == "https://host:8080/a.csv"
    assert shown("/data/a b.csv") == "/data/a b.csv"


def test_the_note_of_what_was_fetched_is_written_last(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(CONTENT)
    fetch(str(tmp_path / "table.csv"), tmp_path / "work")
    note = json.loads((tmp_path / "work/fetched.json").read_text())
    assert note["digest"] == DIGEST


def test_a_device_or_a_pipe_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "endless.csv").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "silent.csv")
    for name in ("endless.csv", "silent.csv"):
        with pytest.raises(DataUnreadable, match="neither a file nor a folder"):
            fetch(str(tmp_path / name), tmp_path / "work")
