"""Steady load: many connections ask prepared questions, as fast as they are answered or at a given rate, and judge.

Each answer is compared with the one that the question brings along. An answer that was judged right once is recognised
by its bytes.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
from answers import same

GROWTH = 1.02  # from one class of times to the next
SHED = frozenset({429, 503})
SHOWN_WRONG = 5
KNOWN = 8  # answers to a question that are remembered


@dataclass
class Asked:
    """A whole request as bytes, and the fields that its answer must have."""

    request: bytes
    wants: dict[str, Any]
    known: set[bytes] = field(default_factory=set)

    @classmethod
    def post(cls, path: str, body: object, wants: dict[str, Any]) -> Asked:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        return cls(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content, wants)

    def is_answered_by(self, body: bytes) -> bool:
        if body in self.known:
            return True
        try:
            right = _has(json.loads(body), self.wants)
        except ValueError:
            return False
        if right and len(self.known) < KNOWN:  # the last bits of a number depend on what it was computed with
            self.known.add(body)
        return right


def _has(answer: Any, wants: Any) -> bool:
    """Whether `answer` is `wants`, numbers within a tolerance; of objects, the fields that are wanted."""
    if isinstance(wants, dict):
        return isinstance(answer, dict) and all(name in answer and _has(answer[name], wants[name]) for name in wants)
    if isinstance(wants, list):
        return isinstance(answer, list) and len(answer) == len(wants) and all(map(_has, answer, wants))
    return same(answer, wants) if isinstance(wants, float) else bool(answer == wants)


@dataclass
class Tally:
    """What came of the questions: `shed` were refused because there were too many, `failed` in any other way."""

    right: int = 0
    wrong: int = 0
    shed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    times: Counter[int] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.right + self.wrong

    def milliseconds(self, share: float) -> float:
        """The time within which this share of the answers came, to 2 percent."""
        left = share * sum(self.times.values())
        for step in sorted(self.times):
            left -= self.times[step]
            if left <= 0:
                return float(GROWTH**step / 1000)
        return 0.0

    def note(self, question: Asked, status: int, body: bytes, seconds: float) -> None:
        if status in SHED:
            self.shed += 1
        elif status != 200:
            self.failed[str(status)] += 1
        else:
            self.times[round(math.log(max(seconds * 1e6, 1), GROWTH))] += 1
            if question.is_answered_by(body):
                self.right += 1
            else:
                self.wrong += 1
                if len(self.examples) < SHOWN_WRONG:
                    self.examples.append(f"{body[:500]!r}, not {question.wants}")


class Pace:
    """Hands out moments to ask at, evenly `rate` a second whatever the answers do; without a rate, at once."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._begin = time.monotonic()
        self._number = 0

    async def turn(self) -> None:
        if self._rate is None:
            return
        due = self._begin + self._number / self._rate
        self._number += 1
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)


class _Connection(asyncio.Protocol):
    """One keep-alive connection: one request, one answer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises ConnectionError."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError
        self._parser, self._body = httptools.HttpResponseParser(self), b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), self._body))

    def connection_lost(self, _: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError())


async def ask(port: int, questions: Sequence[Asked], *, connections: int, seconds: float, rate: float | None) -> Tally:
    """Ask in turns for so long; `rate` is in requests a second, of all connections together."""
    tally, pace, begin = Tally(), Pace(rate), time.monotonic()
    counter = iter(range(1 << 62))

    async def over_one_connection() -> None:
        transport, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port)
        with closing(transport):
            while time.monotonic() < begin + seconds:
                await pace.turn()
                question, sent = questions[next(counter) % len(questions)], time.monotonic()
                status, body = await asyncio.wait_for(connection.ask(question.request), 60)
                tally.note(question, status, body, time.monotonic() - sent)

    async def keep_asking() -> None:
        while time.monotonic() < begin + seconds:
            try:
                await over_one_connection()
            except (OSError, TimeoutError) as error:
                tally.failed[type(error).__name__] += 1
                await asyncio.sleep(0.1)

    await asyncio.gather(*(keep_asking() for _ in range(connections)))
    tally.seconds = time.monotonic() - begin
    return tally
