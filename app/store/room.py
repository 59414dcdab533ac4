"""How many predictions may wait for their answers, and how many bytes of them: for one deployment, and in all."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.prediction_errors import PlatformFull, TooManyPending
from app.core.settings import DeferredSettings


class Room:
    """What is left of the settings' bounds. `pending` has, by deployment, how many wait and how many bytes."""

    def __init__(self, settings: DeferredSettings, pending: Mapping[str, tuple[int, int]]) -> None:
        self._settings = settings
        self._pending = dict(pending)
        self._count = sum(count for count, _ in pending.values())
        self._bytes = sum(size for _, size in pending.values())

    def refusal(self, task_id: str, uid: str, size: int) -> TooManyPending | None:
        """Why one more of this size may not wait; None if it may."""
        bounds = self._settings
        count, held = self._pending.get(uid, (0, 0))
        if count >= bounds.pending_per_deployment:
            return TooManyPending(f"Deployment {task_id!r}", f"{bounds.pending_per_deployment} requests")
        if held + size > bounds.pending_bytes_per_deployment:
            return TooManyPending(f"Deployment {task_id!r}", f"{bounds.pending_bytes_per_deployment} bytes")
        if self._count >= bounds.pending:
            return PlatformFull(f"{bounds.pending} requests")
        if self._bytes + size > bounds.pending_bytes:
            return PlatformFull(f"{bounds.pending_bytes} bytes")
        return None

    def take(self, uid: str, size: int) -> int:
        """One more of this size waits. Returns how many of its deployment did before."""
        count, held = self._pending.get(uid, (0, 0))
        self._pending[uid] = (count + 1, held + size)
        self._count += 1
        self._bytes += size
        return count
