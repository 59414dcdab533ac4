"""The replicas of a task as the proxy sees them: how busy each is, and its kept-alive connections."""

from __future__ import annotations

from collections import deque
from time import monotonic

from app.core.addresses import Address
from app.proxy.client import Connection, connect

IDLE_SECONDS = 4.0  # servers commonly close an idle connection after 5 s (uvicorn does): be first


class Replica:
    """One server of a task. `busy` counts the requests in flight to it from this gateway.

    A request begins with its method, `prefix` and path; `lines` follow: the rest of its request line, and the headers
    that are the same for every request to this replica.
    """

    __slots__ = ("_idle", "_retired", "address", "busy", "lines", "prefix", "seed")

    def __init__(self, address: Address) -> None:
        self.address = address
        self.busy = 0
        self.seed = str(address).encode()
        self._idle: deque[Connection] = deque()
        self._retired = False
        self.prefix = address.via.prefix.encode("latin-1") if address.via else b""
        self.lines = _lines(address)

    def __str__(self) -> str:
        return str(self.address)

    def idle_connection(self) -> Connection | None:
        """The kept-alive connection used last, if any; to be given back with `release`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since > monotonic() - IDLE_SECONDS:
                self.busy += 1
                return connection
            connection.close()
        return None

    async def connect(self, timeout: float) -> Connection:
        """A fresh connection, to be given back with `release`. Raises OSError if there is none in `timeout` seconds."""
        self.busy += 1
        try:
            return await connect(self.address, timeout)
        except BaseException:
            self.busy -= 1
            raise

    def release(self, connection: Connection) -> None:
        """The request is over: keep the connection for the next if it is fit for one, else close it."""
        self.busy -= 1
        if self._retired or not connection.reusable:
            connection.close()
            return
        connection.idle_since = now = monotonic()
        self._idle.append(connection)
        if self._idle[0].idle_since < now - IDLE_SECONDS:
            self._idle.popleft().close()

    def retire(self) -> None:
        """Close what is idle; requests in flight end in peace, and their connections close behind them."""
        self._retired = True
        while self._idle:
            self._idle.pop().close()


def _lines(address: Address) -> bytes:
    host, port, via = address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = f" HTTP/1.1\r\nhost: {name}\r\n"
    if via and via.authorization:
        lines += f"authorization: {via.authorization}\r\n"
    return lines.encode("latin-1")
