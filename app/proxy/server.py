"""The gateway's side of a client's connection: uvicorn's protocol, made to send an answer's head and body as one.

uvicorn writes them one after the other, and uvloop makes a system call and a packet of each: on the predict path that
is a tenth of all work. Besides, an answer that is complete, as most predictions are, can be given in one call instead
of two messages. Serve with `uvicorn.run(..., http=HttpProtocol, proxy_headers=False)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.proxy.headers import Header

SMALL = 16 << 10  # bytes; a larger piece goes at once, as holding it would cost more than a packet
MANY = 16  # pieces that are held at most: who writes without a pause must feel the transport's flow control


WHOLE_ANSWER = "modelyard.whole-answer"  # the ASGI extension's name
WholeAnswer = Callable[[int, Iterable[Header], bytes], bool]


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol over a `Cork`, with the extension `WHOLE_ANSWER`.

    The extension is a `WholeAnswer`: a function of status, headers and body that answers the request at once, instead
    of `send`. The headers must be well formed, in lower case, and state the body's length. False means that nothing
    was done, and the answer is to be sent: the client reads too slowly, or is gone.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Cork(cast(asyncio.Transport, transport), self.loop))

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.cycle is not None and self.cycle.scope is self.scope:  # no upgrade to another protocol
            self.scope["extensions"] = {WHOLE_ANSWER: partial(self._answer, self.cycle)}  # type: ignore[dict-item]

    def _answer(self, cycle: RequestResponseCycle, status: int, headers: Iterable[Header], body: bytes) -> bool:
        if self.flow.write_paused or cycle.disconnected or cycle.response_started:
            return False
        lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        cast(Cork, self.transport).write_now(b"%b%b\r\n%b" % (STATUS_LINE[status], b"".join(lines), body))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True


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
