"""Small writes go out together, and nothing is lost or put out of order."""

from __future__ import annotations

import asyncio
from typing import Any

from app.proxy.cork import MANY, SMALL, Cork


class Recorder(asyncio.Transport):
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def resume_reading(self) -> None:
        pass


def cork() -> tuple[Cork, Recorder]:
    recorder = Recorder()
    return Cork(recorder, asyncio.get_running_loop()), recorder


async def test_what_is_written_in_one_round_goes_out_together_in_the_next() -> None:
    corked, recorder = cork()
    corked.write(b"head")
    corked.write(bytearray(b"body"))
    assert recorder.done == []
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody"]
    corked.writelines([b"more", b"over"])
    await asyncio.sleep(0)
    assert recorder.done == [b"headbody", b"moreover"]


async def test_what_is_held_goes_out_before_the_connection_closes() -> None:
    corked, recorder = cork()
    corked.write(b"last")
    corked.close()
    await asyncio.sleep(0)
    assert recorder.done == [b"last", "close"]


async def test_what_is_held_is_dropped_with_an_aborted_connection() -> None:
    corked, recorder = cork()
    corked.write(b"never")
    corked.abort()
    await asyncio.sleep(0)
    assert recorder.done == ["abort"]


async def test_a_large_piece_takes_what_is_held_along_and_waits_for_nothing() -> None:
    corked, recorder = cork()
    corked.write(b"head")
    corked.write(b"x" * (SMALL + 1))
    assert recorder.done == [b"head" + b"x" * (SMALL + 1)]


async def test_who_writes_without_a_pause_is_not_held_for_ever() -> None:
    corked, recorder = cork()
    for _ in range(10 * MANY):
        corked.write(b"x")
    assert sum(map(len, recorder.done)) >= 9 * MANY
