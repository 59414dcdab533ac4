"""Where a replica answers: directly, or through a server that passes requests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from ssl import SSLContext
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Via:
    """What a server in between wants: its TLS, a prefix of the path that names the replica, and our credentials."""

    prefix: str
    tls: SSLContext | None = None
    authorization: str = field(default="", repr=False)  # the header's value


class Address(NamedTuple):
    """Where to connect to; without `via` the replica itself listens there."""

    host: str
    port: int
    via: Via | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}{self.via.prefix if self.via else ''}"
