"""Finding the place in a kept log where its last lines, or those of a time, begin."""

from __future__ import annotations

from datetime import datetime

from app.archive.chain import Chain

BLOCK = 1 << 16


async def offset_of(chain: Chain, tail_lines: int | None, since: datetime | None) -> int:
    """With both, the later one. By time it may reach back too far, never too little."""
    tail = await _tail(chain, tail_lines) if tail_lines is not None else 0
    return max(tail, await _since(chain, int(since.timestamp() * 1000)) if since is not None else 0)


async def _tail(chain: Chain, lines: int) -> int:
    """A last line without its line feed counts as one."""
    if lines <= 0:
        return chain.end
    wanted = lines + (chain.end > 0 and await chain.read(chain.end - 1, 1) == b"\n")
    end = chain.end
    while end > 0:
        start = max(0, end - BLOCK)
        block = await chain.read(start, end - start)
        found = block.count(b"\n")
        if found >= wanted:
            position = len(block)
            for _ in range(wanted):
                position = block.rindex(b"\n", 0, position)
            return start + position + 1
        wanted, end = wanted - found, start
    return 0


async def _since(chain: Chain, moment: int) -> int:
    """Where the last stretch begins that was begun before."""
    low, high = 0, chain.links
    while low < high:
        middle = (low + high) // 2
        head = await chain.head(middle)
        if head is not None and head.marks[0][0] >= moment:
            high = middle
        else:
            low = middle + 1
    head = await chain.head(low - 1) if low else None
    if head is None:
        return 0
    if low == chain.links and head.until < moment:
        return chain.end
    return max((offset for at, offset in head.marks if at < moment), default=0)
