"""A kept log: what was read at an offset stays there, whoever writes, and whatever is joined meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.archive.base import Archive, Occupied
from app.archive.chain import Chain
from app.archive.finding import offset_of
from app.archive.links import Place

PREFIX = "n/train-a/u1/job/"


def place(number: int) -> Place:
    return Place("pod.0", f"2026-11-21T00:00:{number:02d}Z", 1)


async def written(archive: Archive, *pieces: bytes) -> Chain:
    """One link a second, from the first second of the epoch on."""
    chain = Chain(archive, PREFIX)
    await chain.refresh()
    for number, piece in enumerate(pieces, chain.links):
        await chain.append(piece, place(number), number * 1000, number * 1000 + 500)
    return chain


async def test_a_chain_is_read_from_any_offset_by_one_who_did_not_write_it(archive: Archive) -> None:
    await written(archive, b"one\n", b"two\n", b"three\n")
    chain = Chain(archive, PREFIX)
    await chain.refresh()
    whole = b"one\ntwo\nthree\n"
    for offset in range(len(whole) + 2):
        for limit in (0, 1, 5, 100):
            assert await chain.read(offset, limit) == whole[offset : offset + limit]
    assert chain.end == len(whole) and await chain.place() == place(2)


async def test_of_two_writers_one_goes_on_and_the_other_sees_how_far(archive: Archive) -> None:
    first, second = await written(archive, b"one\n"), Chain(archive, PREFIX)
    await second.refresh()
    await first.append(b"two\n", place(1), 0, 0)
    with pytest.raises(Occupied):
        await second.append(b"2\n", place(1), 0, 0)
    await second.refresh()
    assert await second.read(0, 99) == b"one\ntwo\n"
    await second.append(b"three\n", place(2), 0, 0)
    await first.refresh()
    assert await first.read(0, 99) == b"one\ntwo\nthree\n"


async def test_joined_links_hold_the_same_bytes_for_one_who_knew_the_small_ones(archive: Archive) -> None:
    chain = await written(archive, *(b"line %d\n" % number for number in range(40)))
    old = Chain(archive, PREFIX)
    await old.refresh()
    whole = await chain.read(0, 10_000)
    await chain.begin("pod.0")
    await chain.join(keep=3)
    assert chain.links == 4
    assert await old.read(0, 10_000) == whole == await chain.read(0, 10_000)
    await chain.append(b"more\n", place(40), 40_000, 40_000)
    await chain.finish("pod.0")
    await old.refresh()
    assert await old.read(len(whole), 100) == b"more\n"
    assert (old.begun, old.over) == ({"pod.0"}, {"pod.0"})
    await chain.join()
    assert len(await archive.entries(PREFIX)) == 3
    await old.refresh()
    assert await old.read(3, 10_000) == whole[3:] + b"more\n" and await chain.place() == place(40)


async def test_what_one_wrote_who_slept_while_links_were_joined_counts_for_nothing(archive: Archive) -> None:
    sleeper = await written(archive, b"one\n", b"two\n")
    chain = Chain(archive, PREFIX)
    await chain.refresh()
    await chain.append(b"three\n", place(2), 0, 0)
    await chain.join()
    await sleeper.append(b"another three and more\n", place(2), 0, 0)
    for one in (chain, sleeper):
        await one.relist()
        assert await one.read(0, 99) == b"one\ntwo\nthree\n"


async def test_a_chain_that_was_removed_is_gone_for_one_who_knew_it(archive: Archive) -> None:
    chain = await written(archive, b"one\n")
    await archive.delete([entry.key for entry in await archive.entries("n/train-a/")])
    await chain.refresh()
    assert not chain.exists and await chain.read(0, 9) == b""


async def test_the_last_lines_and_those_of_a_time_are_found(archive: Archive) -> None:
    lines = [b"x" * (number * 3001) + b"\n" for number in range(40)]
    chain = await written(archive, *lines)
    for joined in (False, True):
        if joined:
            await chain.join()
        for count in (0, 1, 2, 30, 40, 99):
            assert await offset_of(chain, count, None) == len(b"".join(lines[: max(0, 40 - count)]))
        for number in (0, 1, 7, 38, 39):
            found = await offset_of(chain, None, datetime.fromtimestamp(number, UTC))
            exact = len(b"".join(lines[:number]))
            assert found <= exact and (found >= len(b"".join(lines[: max(0, number - 2)])))
        assert await offset_of(chain, None, datetime.fromtimestamp(60, UTC)) == chain.end
