"""The model cache: fetched once, checked always, bounded; never corrupted by two servers or by a killed one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from inference_server import cache as cache_module
from inference_server.cache import Announce, ModelCache
from inference_server.digest import directory_digest
from inference_server.families.base import ModelUnreadable
from inference_server.rest import Unavailable, Unwritable
from tests.support.killing import killed_at_line

CHECKOUT = Path(__file__).resolve().parents[2]


class Source:
    """Fills a folder, and counts how often it was asked to. With `company` it gives others the time to fetch too.

    The first `failures` times the disk is full; `announces` is the size that is told before.
    """

    def __init__(
        self,
        content: str = "weights",
        company: threading.Barrier | None = None,
        failures: int = 0,
        announces: int | None = None,
    ) -> None:
        self.content = content
        self.company = company
        self.failures = failures
        self.announces = len(content) if announces is None else announces
        self.fetches = 0
        self._lock = threading.Lock()

    def __call__(self, folder: Path, announce: Announce = lambda _: None) -> None:
        with self._lock:
            self.fetches += 1
        announce(self.announces)
        if self.company:
            with suppress(threading.BrokenBarrierError):
                self.company.wait(0.2)
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        if self.fetches <= self.failures:
            (folder / "sub" / "half").write_text("half")
            raise Unwritable("weights cannot be written: No space left on device.") from OSError(errno.ENOSPC, "full")
        (folder / "sub" / "weights").write_text(self.content)

    def digest(self, folder: Path) -> str:
        """Of what it fetches, found out in this new folder."""
        folder.mkdir(parents=True)
        (folder / "sub").mkdir()
        (folder / "sub" / "weights").write_text(self.content)
        return directory_digest(folder)


@pytest.fixture
def digest(tmp_path: Path) -> str:
    return Source().digest(tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ModelCache]:
    with closing(ModelCache(tmp_path / "cache")) as cache:
        yield cache


class Shelf:
    """One cache folder, and models a, b, c, ... of 1,000 bytes each, used in turn by servers that ended since."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cache"
        self._folder = folder
        self.sources = {letter: Source(letter * 1000) for letter in "abcdef"}
        self.digests = {
            letter: source.digest(folder / "models" / letter) for letter, source in self.sources.items()
        }  # fmt: skip

    @contextmanager
    def server(self, letter: str, most_bytes: int = 0, source: Source | None = None) -> Iterator[Path]:
        with closing(ModelCache(self.root, most_bytes)) as cache:
            yield cache.fetched(self.digests[letter], source or self.sources[letter])

    def use(self, letter: str, most_bytes: int = 0, source: Source | None = None) -> None:
        with self.server(letter, most_bytes, source):
            pass

    def used_long_ago(self, *letters: str) -> None:
        for age, letter in enumerate(reversed(letters)):
            self.use(letter)
            self.last_used(letter, 1_000_000_000 - age)

    def last_used(self, letter: str, when: int) -> None:
        os.utime(self.root / f"{self._name(letter)}.used", (when, when))

    def holds(self) -> str:
        return "".join(letter for letter in self.digests if (self.root / self._name(letter)).is_dir())

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.root.rglob("*") if path.is_file())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.iterdir())

    def _name(self, letter: str) -> str:
        return self.digests[letter].replace(":", "-")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def once(root: Path, digest: str, source: Source) -> Path:
    with closing(ModelCache(root)) as cache:
        return cache.fetched(digest, source)


def broken(error: Exception) -> Callable[[Path, Announce], None]:
    def fetch(folder: Path, announce: Announce) -> None:
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


def test_a_changed_model_is_fetched_again_once_by_many_although_a_server_uses_it(
    cache: ModelCache, tmp_path: Path, digest: str
) -> None:
    (cache.fetched(digest, Source()) / "sub" / "weights").write_text("poison")
    source = Source(company=threading.Barrier(2))
    with ThreadPoolExecutor(8) as servers:
        folders = list(servers.map(lambda _: once(tmp_path / "cache", digest, source), range(8)))
    assert {directory_digest(folder) for folder in folders} == {digest}
    assert source.fetches == 1


def test_a_fetch_that_broke_off_leaves_nothing_that_counts(cache: ModelCache, digest: str) -> None:
    with pytest.raises(Unavailable):
        cache.fetched(digest, broken(Unavailable("gone")))
    assert directory_digest(cache.fetched(digest, Source())) == digest


def test_several_servers_at_once_share_one_fetch(tmp_path: Path, digest: str) -> None:
    source = Source(company=threading.Barrier(2))
    with ThreadPoolExecutor(8) as servers:
        folders = list(servers.map(lambda _: once(tmp_path / "cache", digest, source), range(8)))
    assert len(set(folders)) == 1
    assert source.fetches == 1


def test_a_server_says_that_it_waits_for_another(cache: ModelCache, tmp_path: Path, digest: str) -> None:
    said = threading.Event()

    def fetch(folder: Path, announce: Announce) -> None:
        waiting.start()
        assert said.wait(30)
        Source()(folder)

    with closing(ModelCache(tmp_path / "cache", notice=lambda _: said.set())) as second:
        waiting = threading.Thread(target=lambda: second.fetched(digest, Source("never asked")))
        cache.fetched(digest, fetch)
        waiting.join(30)
        assert not waiting.is_alive()


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


def test_the_longest_unused_models_make_room(shelf: Shelf) -> None:
    shelf.used_long_ago("b", "a", "c")
    shelf.use("d", most_bytes=2500)
    assert shelf.holds() == "cd"
    shelf.use("c", most_bytes=2500)
    shelf.use("e", most_bytes=2500)
    assert shelf.holds() == "ce"


def test_of_a_removed_model_nothing_is_left(shelf: Shelf) -> None:
    shelf.used_long_ago("a")
    (shelf.root / shelf.names()[0]).with_suffix(".lock").touch()  # as earlier versions made them
    shelf.use("b", most_bytes=1500)
    assert all(name.startswith(shelf.digests["b"].replace(":", "-")) for name in shelf.names())


def test_a_model_that_a_server_uses_is_never_removed(shelf: Shelf) -> None:
    shelf.used_long_ago("a", "b", "c")
    with shelf.server("a"):
        shelf.last_used("a", 0)
        shelf.use("d", most_bytes=2500)
        assert shelf.holds() == "ad"
    shelf.last_used("d", 1)
    shelf.use("e", most_bytes=2500)  # a was seen in use since
    assert shelf.holds() == "ae"


def test_if_servers_use_all_of_it_the_cache_grows_beyond_its_bound(shelf: Shelf) -> None:
    with shelf.server("a"), shelf.server("b", most_bytes=1500), shelf.server("c", most_bytes=1500):
        assert shelf.holds() == "abc"
    shelf.use("d", most_bytes=1500)
    assert shelf.holds() == "d"


@pytest.mark.parametrize("announced", [1000, 0])
def test_a_model_that_is_larger_than_the_cache_is_refused(shelf: Shelf, announced: int) -> None:
    with pytest.raises(Unwritable, match="has 1,000 bytes, and the model cache may hold 999 in all"):
        shelf.use("b", most_bytes=999, source=Source("b" * 1000, announces=announced))
    assert shelf.holds() == ""


def test_when_the_disk_is_full_unused_models_go_one_by_one_and_it_is_tried_again(shelf: Shelf) -> None:
    shelf.used_long_ago("b", "a", "c")
    with shelf.server("b"):
        shelf.use("d", source=Source("d" * 1000, failures=1))
        assert shelf.holds() == "bcd"


def test_a_full_disk_is_told_once_there_is_nothing_left_to_remove(shelf: Shelf) -> None:
    shelf.used_long_ago("a", "b")
    with shelf.server("b"), pytest.raises(Unwritable, match="No space left on device"):
        shelf.use("d", source=Source("d" * 1000, failures=9))
    assert shelf.holds() == "b"
    assert not [name for name in shelf.names() if name.endswith(".part")]


def test_a_model_that_the_disk_cannot_hold_is_refused_with_numbers(shelf: Shelf) -> None:
    shelf.used_long_ago("a")
    with pytest.raises(
        Unwritable, match=r"has 1,152,921,504,606,846,976 bytes, more than .* \([\d,]+ bytes are free\)"
    ):
        shelf.use("b", source=Source(announces=1 << 60))
    assert shelf.holds() == "a"


def test_what_a_killed_server_left_counts_and_goes(shelf: Shelf) -> None:
    part = shelf.root / f"{shelf._name('a')}.part"
    part.mkdir(parents=True)
    (part / "half").write_text("x" * 900)
    shelf.use("b", most_bytes=1500)
    assert not part.exists()


def test_many_servers_that_come_and_go_all_find_their_models_whole(shelf: Shelf) -> None:
    """And nobody's model goes while it is in use, in a cache that holds two of six."""

    def serve(number: int) -> bool:
        letter = "abcdef"[number * 7 % 6]
        with shelf.server(letter, most_bytes=2500) as folder:
            time.sleep(0)  # let others come
            return directory_digest(folder) == shelf.digests[letter]

    with ThreadPoolExecutor(8) as servers:
        assert all(servers.map(serve, range(200)))
    shelf.use("a", most_bytes=2500)
    assert shelf.bytes() <= 2500


@contextmanager
def another_process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *arguments]
    process = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


USER = """
import sys
from pathlib import Path
from inference_server.cache import ModelCache

def fetch(folder, announce):
    raise AssertionError("it is here already")

cache = ModelCache(Path(sys.argv[1]))
cache.fetched(sys.argv[2], fetch)
print("uses it", flush=True)
sys.stdin.read()
"""


def test_a_server_in_another_process_keeps_its_model_until_it_is_killed(shelf: Shelf) -> None:
    shelf.used_long_ago("a")
    with another_process(USER, str(shelf.root), shelf.digests["a"]) as server:
        assert server.stdout is not None and server.stdout.readline() == "uses it\n"
        shelf.use("b", most_bytes=1500)
        assert shelf.holds() == "ab"
        server.kill()
        server.wait(30)
        shelf.use("b", most_bytes=1500)
    shelf.use("c", most_bytes=1500)
    assert shelf.holds() == "c"


def test_a_server_may_be_killed_before_any_line(shelf: Shelf) -> None:
    """While it fetches and another model makes room; and while it finds its model changed."""
    number = 0
    while True:
        number += 1
        shelf.used_long_ago("a")
        killed = killed_at_line(cache_module, number, lambda: shelf.use("b", most_bytes=1500))
        with shelf.server("b", most_bytes=1500) as folder:
            assert (shelf.holds(), shelf.bytes()) == ("b", 1000), number
            (folder / "sub" / "weights").write_text("poison")
        killed_at_line(cache_module, number, lambda: shelf.use("b"))
        with shelf.server("b") as folder:
            assert directory_digest(folder) == shelf.digests["b"], number
        if not killed:
            break
        shelf.use("a", most_bytes=1500)
    assert number > 80
