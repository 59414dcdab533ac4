"""What every archive promises."""

from __future__ import annotations

import asyncio

import pytest

from app.archive.base import Archive, Missing, Occupied
from app.archive.settings import ArchiveSettings, open_archive
from app.core.errors import ArchiveUnavailable, ConfigurationError


async def test_what_was_written_is_read_in_parts_and_listed_in_order(archive: Archive) -> None:
    await archive.put("a/b/2", b"second")
    await archive.put("a/b/1", b"first")
    await archive.put("a/c/3", b"")
    assert await archive.get("a/b/1") == b"first"
    assert await archive.get("a/b/2", 2, 3) == b"con"
    assert await archive.get("a/b/2", 2, 300) == b"cond"
    assert [(entry.key, entry.size) for entry in await archive.entries("a/b/")] == [("a/b/1", 5), ("a/b/2", 6)]
    assert [entry.key for entry in await archive.entries("a/", "a/b/1")] == ["a/b/2", "a/c/3"]
    assert await archive.entries("nothing/") == []


async def test_of_many_who_write_what_must_be_new_one_succeeds(archive: Archive) -> None:
    found = await asyncio.gather(
        *(archive.put_new("x/1", str(number).encode()) for number in range(8)), return_exceptions=True
    )
    assert [type(one) for one in found if one is not None] == [Occupied] * 7
    assert await archive.get("x/1") == str(found.index(None)).encode()
    await archive.put("x/1", b"anew")
    assert await archive.get("x/1") == b"anew"


async def test_what_was_deleted_is_missing_and_deleting_it_again_is_harmless(archive: Archive) -> None:
    await archive.put("x/1", b"one")
    await archive.delete(["x/1", "x/2"])
    await archive.delete(["x/1"])
    with pytest.raises(Missing):
        await archive.get("x/1")
    assert await archive.entries("x/") == []


async def test_a_store_that_is_away_or_refuses_is_an_outage_without_secrets(endpoint: str) -> None:
    for where, bucket in (("http://127.0.0.1:9", "logs"), (endpoint, "no-such-bucket")):
        archive = open_archive(ArchiveSettings(f"s3://{bucket}", where, "us-east-1", "k", "very-secret"))
        with pytest.raises(ArchiveUnavailable) as outage:
            await archive.put("x", b"")
        assert bucket in str(outage.value) and "very-secret" not in str(outage.value)
        await archive.close()
    assert "very-secret" not in repr(ArchiveSettings("s3://logs", secret_key="very-secret"))


@pytest.mark.parametrize("url", ["", "logs", "file://host/x", "file:relative", "s3://", "http://x", "s3://k:s@bucket"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="MLOPS_LOGS__URL"):
        open_archive(ArchiveSettings(url))
