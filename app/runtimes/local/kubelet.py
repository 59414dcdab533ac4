"""The loop that makes wishes so: what the kubelet is to a cluster's node, for this machine.

Among all gateways that share a home, the one that holds <home>/runtime.lock acts; the lock ends with its process. It is
level-triggered: it looks at what is wished and what is, takes one step, and looks again when something calls or, at the
latest, after the period. What it remembers could be lost at any moment without harm.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum, auto

import structlog

from app.runtimes.base import JobObservation, ProcessState, ServerObservation
from app.runtimes.local.attempt import Attempt, Life
from app.runtimes.local.exits import ExitWatch
from app.runtimes.local.files import try_lock
from app.runtimes.local.gpus import Pool
from app.runtimes.local.jobs import JobKeeper
from app.runtimes.local.launcher import Launcher
from app.runtimes.local.probe import Prober
from app.runtimes.local.servers import ServerKeeper
from app.runtimes.local.settings import LocalSettings
from app.runtimes.local.turns import Turns
from app.runtimes.local.wishes import JOB, PLATFORM_LABEL, Key, Order, Wish, Wishes

BEGINNING_PERIOD = 0.02  # while a witness is up and its program is not yet
log = structlog.get_logger(__name__)


class Halt(Enum):
    """How much of what runs shall stop; with anything but NOTHING, nothing is started either."""

    NOTHING = auto()
    TASKS = auto()  # all but the platform's own servers
    ALL = auto()


class Kubelet:
    """`on_change` is called on the event loop whenever an observation has changed."""

    def __init__(
        self,
        settings: LocalSettings,
        wishes: Wishes,
        launcher: Launcher,
        gpus: tuple[str, ...],
        on_change: Callable[[], None],
    ) -> None:
        self._settings, self._wishes, self._launcher, self._gpus = settings, wishes, launcher, gpus
        self._on_change = on_change
        self._keepers: dict[Key, JobKeeper | ServerKeeper] = {}
        self._published: dict[Key, tuple[int, JobObservation | ServerObservation]] = {}
        self._turns = Turns(settings.starts_at_once)
        self._exits = ExitWatch(self.call)
        self._probing: dict[Prober, asyncio.Task[None]] = {}
        self._calls = asyncio.Event()
        self._lock: int | None = None
        self._closing = False
        self._begun = self._done = 0  # looks
        self._looked = asyncio.Event()
        self._alive: Mapping[str, Attempt] = {}
        self.halting = Halt.NOTHING
        self.stopping: Collection[str] = ()  # who is alive of those that `halting` stops
        self.trouble = ""

    @property
    def acts(self) -> bool:
        """Whether this gateway is the one that acts."""
        return self._lock is not None

    def call(self) -> None:
        """Look at the world now."""
        self._calls.set()

    def close(self) -> None:
        """Let `run` end after the look it is at; nothing that runs is touched."""
        self._closing = True
        self.call()

    async def look_again(self) -> None:
        """Return after a look that began after this call, or when there will be none."""
        wanted = self._begun + 1
        while self._done < wanted and not self._closing:
            self._looked.clear()
            self.call()
            await self._looked.wait()

    async def run(self) -> None:
        try:
            while not self._closing:
                self._calls.clear()
                self._begun += 1
                pause = await self._turn()
                self._done = self._begun
                self._looked.set()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._calls.wait(), pause)
        finally:
            self._closing = True
            self._looked.set()
            self._exits.close()
            await self._probe(())
            if self._lock is not None:
                os.close(self._lock)

    async def _turn(self) -> float:
        """One look; the seconds until the next."""
        try:
            if self._lock is None:
                self._lock = await asyncio.to_thread(try_lock, self._wishes.home / "runtime.lock")
            if self._lock is None:
                return self._settings.period
            changed, pause = await asyncio.to_thread(self._look)
        except OSError as error:
            self._complain("runtime.look_failed", str(error))
            return self._settings.period
        if changed:
            self._on_change()
        await self._probe([prober for keeper in self._keepers.values() for prober in keeper.probers])
        witnesses = {attempt.witness for attempt in self._alive.values()}
        return min(pause, self._exits.watch(witness for witness in witnesses if witness))

    def _look(self) -> tuple[bool, float]:
        """Take one step with every task that has not come to rest: whether anything changed, and when to look again."""
        self._launcher.reap()
        tasks = self._wishes.active()
        for key in set(self._keepers) - {key for key, _ in tasks}:
            self._forget(key)
        for key, wish in tasks:
            self._keeper(key).look(wish)
        pool = Pool(self._gpus, {holder: attempt.gpus for holder, attempt in self._living().items()})
        self._turns.look(holder for keeper in self._keepers.values() for holder in keeper.starting)
        self.trouble = ""
        changed = [self._advance(key, wish, pool) for key, wish in tasks]
        self._alive = self._living()
        stopped = [
            self._keepers[key].alive for key, wish in tasks if key in self._keepers and self._order(wish) is Order.STOP
        ]
        self.stopping = {holder for alive in stopped for holder in alive}
        return any(changed), self._pause()

    def _living(self) -> dict[str, Attempt]:
        return {holder: attempt for keeper in self._keepers.values() for holder, attempt in keeper.alive.items()}

    def _pause(self) -> float:
        if any(attempt.life is Life.BEGINNING for attempt in self._alive.values()):
            return BEGINNING_PERIOD
        return min([self._settings.period, *(max(0.0, keeper.next_start) for keeper in self._keepers.values())])

    def _keeper(self, key: Key) -> JobKeeper | ServerKeeper:
        if key not in self._keepers:
            self._keepers[key] = (
                JobKeeper(key.name, self._wishes.slot(key), self._settings, self._launcher)
                if key.kind == JOB
                else ServerKeeper(key, self._wishes, self._settings, self._launcher, self._turns)
            )
        return self._keepers[key]

    def _advance(self, key: Key, wish: Wish, pool: Pool) -> bool:
        """One task's step. What fails for one holds up no other."""
        keeper = self._keepers[key]
        try:
            seen = keeper.step(wish, pool, self._order(wish))
            if wish.deleted and not keeper.alive:
                self._wishes.remove(key)
                self._forget(key)
                return True
            return self._publish(key, wish, seen)
        except OSError as error:
            self._complain("runtime.step_failed", str(error), kind=key.kind, name=key.name)
            return False

    def _publish(self, key: Key, wish: Wish, seen: JobObservation | ServerObservation) -> bool:
        at_rest = isinstance(seen, JobObservation) and seen.state is ProcessState.EXITED
        changed = self._published.get(key) != (wish.run, seen)
        if changed:
            self._wishes.publish(key, wish.run, seen, durable=at_rest)
            self._published[key] = (wish.run, seen)
        if at_rest and not wish.deleted:
            self._wishes.settle(key, wish.run)
            self._forget(key)
        return changed

    def _order(self, wish: Wish) -> Order:
        if self.halting is Halt.TASKS:
            return Order.HOLD if PLATFORM_LABEL in wish.spec.labels else Order.STOP
        return Order.STOP if self.halting is Halt.ALL else Order.GO

    def _forget(self, key: Key) -> None:
        self._keepers.pop(key, None)
        self._published.pop(key, None)

    async def _probe(self, wanted: Iterable[Prober]) -> None:
        """Run these probers and no others."""
        keep = set(wanted)
        gone = [self._probing.pop(prober) for prober in set(self._probing) - keep]
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        for prober in keep - set(self._probing):
            self._probing[prober] = asyncio.create_task(prober.run(self.call))

    def _complain(self, event: str, error: str, **about: str) -> None:
        if self.trouble != error:
            log.warning(event, error=error, **about)
        self.trouble = error
