"""One list-and-watch of one kind: what is known of its objects, kept small and current without asking again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import structlog

from app.core.errors import RuntimeUnavailable
from app.runtimes.kubernetes.client import Client, Expired
from app.runtimes.kubernetes.manifests import Manifest

_FIRST_BACKOFF, _LAST_BACKOFF, _BRIEF = 0.2, 5.0, 5.0  # seconds
log = structlog.get_logger(__name__)


class Kept(Protocol):
    """What is kept of an object: its name, and the version of it that this was."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...


T = TypeVar("T", bound=Kept)


def version_of(found: Manifest) -> int:
    return int(found["metadata"]["resourceVersion"])


class Watch(Generic[T]):
    """`keep` makes of an object, and of what was kept of it before, what is kept. `changed` is called after each change
    with what was kept before and what is kept now, either of them None.

    `known` is whole once `synced`; `tried` is set when the first list has come or failed.
    Versions are etcd's revisions: numbers that grow over all objects.
    """

    def __init__(
        self, client: Client, path: str, query: Mapping[str, str], keep: Callable[[Manifest, T | None], T],
        changed: Callable[[T | None, T | None], None],
    ) -> None:  # fmt: skip
        self._client, self.path, self._query = client, path, query
        self._keep, self._changed = keep, changed
        self._version = 0
        self.known: dict[str, T] = {}
        self.synced, self.tried = asyncio.Event(), asyncio.Event()
        self.trouble = ""

    def put(self, found: Manifest) -> T:
        """What a write of ours brought back, so that we see it before the watch tells of it."""
        old = self.known.get(found["metadata"]["name"])
        new = self._keep(found, old)
        if new.version > self._version and (old is None or new.version > old.version):
            self._replace(new.name, new)
        return new

    def _replace(self, name: str, new: T | None) -> None:
        old = self.known.pop(name, None) if new is None else self.known.get(name)
        if new is not None:
            self.known[name] = new
        self._changed(old, new)

    async def run(self) -> None:
        """List, watch from there, and again, until cancelled. Whatever fails is tried again, never at once."""
        backoff, relist = _FIRST_BACKOFF, True
        while True:
            try:
                if relist:
                    await self._list()
                relist, began = False, time.monotonic()
                await self._follow()
                brief = time.monotonic() - began < _BRIEF  # a server that closes at once is not asked at once again
                backoff = min(_LAST_BACKOFF, backoff * 2) if brief else _FIRST_BACKOFF
            except Expired as expired:
                log.info("watch_expired", path=self.path, cause=str(expired))
                relist = True
            except RuntimeUnavailable as outage:
                relist = True
                if not self.trouble:
                    log.warning("watch_interrupted", path=self.path, cause=str(outage))
                self.trouble = str(outage)
                self.tried.set()
                backoff = min(_LAST_BACKOFF, backoff * 2)
            await asyncio.sleep(backoff * random.uniform(0.5, 1))

    async def _list(self) -> None:
        """What a write of ours brought meanwhile is newer than the list, and stays."""
        named, began = set(), time.monotonic()
        async for page in self._client.pages(self.path, self._query):
            version = int(page["metadata"]["resourceVersion"])
            for item in page["items"]:
                named.add(name := item["metadata"]["name"])
                old = self.known.get(name)
                if old is None or old.version < version_of(item):
                    self._replace(name, self._keep(item, old))
            await asyncio.sleep(0)
        for name in [name for name, kept in self.known.items() if name not in named and kept.version <= version]:
            self._replace(name, None)
        self._version, self.trouble = version, ""
        self.synced.set()
        self.tried.set()
        log.info("watch_listed", path=self.path, objects=len(named), seconds=round(time.monotonic() - began, 3))
        self._changed(None, None)

    async def _follow(self) -> None:
        seconds = random.randint(240, 300)
        async for event in self._client.watch(self.path, self._query, str(self._version), seconds):
            self._learn(event["type"], event["object"])

    def _learn(self, type_: str, found: Manifest) -> None:
        version, name = version_of(found), found["metadata"].get("name", "")
        self._version = max(self._version, version)
        if type_ == "BOOKMARK":
            return
        old = self.known.get(name)
        if old is not None and old.version > version:
            return
        self._replace(name, None if type_ == "DELETED" else self._keep(found, old))
