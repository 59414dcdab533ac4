"""Everything at once: replicas that fail, clients that leave, deadlines that pass. Each client gets its own answers."""

from __future__ import annotations

import asyncio
import random
from asyncio import StreamReader, StreamWriter
from collections import Counter

from tests.app.proxy.gateway import Gateway, gateway, one_reply, request_bytes, until
from tests.app.proxy.upstreams import Upstream, answer

CLIENTS, REQUESTS = 16, 25
FINE = {200, 502, 503, 504}


class Moody(Upstream):
    """Answers at once, late, in halves, in chunks, with `Connection: close`, or with nothing at all."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> bool:
        body = (await self.receive(reader)).body
        whole = answer(body)
        mood = self._random.random()
        if mood < 0.05:
            return False
        if mood < 0.08:
            writer.write(whole[: len(whole) // 2])
            return False
        if mood < 0.2:
            await asyncio.sleep(self._random.random() / 10)
        if mood < 0.3:
            writer.write(whole[:20])
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(whole[20:])
        elif mood < 0.4 and len(body) < 1000:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        elif mood < 0.5:
            writer.write(answer(body, b"Connection: close"))
            return False
        else:
            writer.write(whole)
        return True


async def client(it: Gateway, number: int, codes: Counter[int]) -> None:
    moods = random.Random(number)
    for turn in range(REQUESTS):
        reader, writer = await it.dial()
        bodies = [b"%d-%d-%d" % (number, turn, part) * moods.choice((1, 50, 20_000)) for part in range(3)]
        timeout = b"X-Request-Timeout: %g" % moods.choice((0.02, 15.0, 15.0))
        for body in bodies[: moods.randint(1, 3)]:
            writer.write(request_bytes(body, timeout))
            if moods.random() < 0.1:
                writer.transport.abort()
                break
            try:
                reply = await one_reply(reader)
            except asyncio.IncompleteReadError:  # a large answer that was cut, visibly
                assert len(body) > 64 << 10
                break
            codes[reply.status] += 1
            assert reply.status in FINE
            assert reply.status != 200 or reply.body == body
        writer.close()


async def test_in_all_disorder_each_client_gets_its_own_answer_and_nothing_is_left_behind() -> None:
    async with Moody(1) as one, Moody(2) as two, Moody(3) as three, gateway(one, two, three) as it:
        codes: Counter[int] = Counter()
        async with asyncio.timeout(90):
            await asyncio.gather(*(client(it, number, codes) for number in range(CLIENTS)))
        await until(lambda: it.load.concurrency == 0)
        route = it.routes.get("iris")
        assert route is not None
        assert {replica.busy for replica in route.replicas} == {0}
        assert codes[200] and codes[502], codes
