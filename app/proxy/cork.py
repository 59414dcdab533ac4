"""A transport that sends together what is written in small pieces.

uvicorn writes an answer's head and body one after the other, and uvloop makes a system call and a packet of each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

SMALL = 16 << 10  # bytes; a larger piece goes at once, as holding it would cost more than a packet
MANY = 16  # pieces that are held at most: who writes without a pause must feel the transport's flow control


class Cork(asyncio.Transport):
    """A transport that gathers small writes and sends them together in the event loop's next round."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing  # type: ignore[method-assign]  # asked for often: no detour

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        held = self._held
        if not held:
            self._loop.call_soon(self._flush)
        held.append(bytes(data))
        if len(data) > SMALL or len(held) > MANY:
            self._flush()

    def write_now(self, data: bytes) -> None:
        """Send this, behind what is held, without waiting for the next round."""
        self._transport.write(b"".join((*self._held, data)) if self._held else data)
        self._held = []

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.write(b"".join(list_of_data))

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held = []
            self._transport.write(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held = []
        self._transport.abort()

    def can_write_eof(self) -> bool:
        return self._transport.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._held)) + self._transport.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._transport.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._transport.get_protocol()
