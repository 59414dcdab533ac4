"""The model cache: fetched once, checked always, never corrupted by two servers or a killed one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from inference_server.cache import ModelCache
from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.rest import Unavailable, Unwritable


class Source:
    """Fills a folder, and counts how often it was asked to. With `company` it gives others the time to fetch too."""

    def __init__(self, content: str = "weights", company: threading.Barrier | None = None) -> None:
        self.content = content
        self.company = company
        self.fetches = 0
        self._lock = threading.Lock()

    def __call__(self, folder: Path) -> None:
        with self._lock:
            self.fetches += 1
        if self.company:
            with suppress(threading.BrokenBarrierError):
                self.company.wait(0.2)
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text(self.content)


@pytest.fixture
def digest(tmp_path: Path) -> str:
    (tmp_path / "model").mkdir()
    Source()(tmp_path / "model")
    return directory_digest(tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache")


def broken(error: Exception) -> Callable[[Path], None]:
    def fetch(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise error

    return fetch


def test_a_model_is_fetched_once(cache: ModelCache, digest: str) -> None:
    source = Source()
    first = cache.fetched(digest, source)
    assert directory_digest(first) == digest
    assert cache.fetched(digest, source) == first
    assert source.fetches == 1


def test_files_that_are_not_those_that_were_logged_are_refused_and_not_kept(cache: ModelCache, digest: str) -> None:
    with pytest.raises(ModelUnreadable) as caught:
        cache.fetched(digest, Source("other weights"))
    words = f"The model's files are not those that were logged (expected {digest}, found sha256:"
    assert str(caught.value).startswith(words)
    assert directory_digest(cache.fetched(digest, Source())) == digest


def test_a_cached_model_that_was_changed_is_fetched_again(cache: ModelCache, digest: str) -> None:
    folder = cache.fetched(digest, Source())
    (folder / "sub" / "weights").write_text("poison")
    (folder / "more").write_text("more")
    source = Source()
    assert directory_digest(cache.fetched(digest, source)) == digest
    assert source.fetches == 1


def test_a_fetch_that_broke_off_leaves_nothing_that_counts(cache: ModelCache, digest: str) -> None:
    with pytest.raises(Unavailable):
        cache.fetched(digest, broken(Unavailable("gone")))
    assert directory_digest(cache.fetched(digest, Source())) == digest


def test_several_servers_at_once_share_one_fetch(tmp_path: Path, digest: str) -> None:
    source = Source(company=threading.Barrier(2))
    with ThreadPoolExecutor(8) as servers:
        folders = list(servers.map(lambda _: ModelCache(tmp_path / "cache").fetched(digest, source), range(8)))
    assert len(set(folders)) == 1
    assert source.fetches == 1


@pytest.mark.parametrize(
    "wrong", ["", "sha256:", f"md5:{'0' * 64}", f"sha256:{'0' * 63}", f"sha256:{'A' * 64}", "../../x"]
)
def test_a_digest_that_is_none_is_refused_and_makes_no_path(cache: ModelCache, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ModelUnreadable, match="is not sha256 and 64 hexadecimal digits"):
        cache.fetched(wrong, Source())
    assert not (tmp_path / "cache").exists()


def test_a_cache_folder_that_cannot_be_used_is_said(tmp_path: Path, digest: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="cannot be used"):
        ModelCache(tmp_path / "file" / "cache").fetched(digest, Source())
