"""Stories: what the cluster said of a task's objects, and how its pods ended; kept when the objects are gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.archive.base import Archive
from app.runtimes.base import Event, Run, Story
from app.runtimes.kubernetes.client import Absent, Client
from app.runtimes.kubernetes.cluster import Cluster
from app.runtimes.kubernetes.manifests import CONTAINER, Manifest
from app.runtimes.kubernetes.records import PodRecord
from app.runtimes.kubernetes.termination import clean

_JOB = "job"  # no pod of ours is named so
_TEXT = 1024  # characters of a message that are kept


@dataclass(frozen=True, slots=True)
class _Page:
    """Of one object."""

    events: list[Event]
    run: Run | None = None

    def content(self) -> bytes:
        return orjson.dumps(asdict(self))


def _page(content: bytes) -> _Page:
    found = orjson.loads(content)
    events = [Event(**one | {key: _time(one[key]) for key in ("first_at", "last_at")}) for one in found["events"]]
    run = found["run"]
    if run is not None:
        run = Run(**run | {key: _time(run[key]) for key in ("started_at", "ended_at")})
    return _Page(events, run)


class Stories:
    """Of the tasks of one namespace. Without an archive they last as long as the objects and the cluster's events."""

    def __init__(self, client: Client, cluster: Cluster, archive: Archive | None) -> None:
        self._client, self._cluster, self._archive = client, cluster, archive

    async def of(self, name: str) -> Story:
        """Of the task's present life, or its last one. Asks the cluster only for what it still has."""
        pages = await self._kept(name)
        for pod in self._cluster.pods_of(name):
            if pod.name not in pages:
                pages[pod.name] = await self._of_pod(pod)
        if name in self._cluster.jobs.known or name in self._cluster.servers.known:
            pages[_JOB] = _Page(await self._events(name))
        runs = sorted((page.run for page in pages.values() if page.run), key=lambda run: run.name)
        events = sorted((event for page in pages.values() for event in page.events), key=lambda event: event.last_at)
        return Story(tuple(sorted(runs, key=lambda run: run.started_at or _NEVER)), tuple(events))

    async def keep(self, pod: PodRecord) -> None:
        """Of a pod that has ended, and of its job so far."""
        if self._archive is None:
            return
        root = f"{self._client.namespace}/{pod.task}/{pod.uid}/story/"
        await self._archive.put(root + pod.name, (await self._of_pod(pod)).content())
        await self._archive.put(root + _JOB, _Page(await self._events(pod.task)).content())

    async def _kept(self, name: str) -> dict[str, _Page]:
        if self._archive is None:
            return {}
        root = f"{self._client.namespace}/{name}/"
        found = [entry for entry in await self._archive.entries(root) if "/story/" in entry.key]
        if not found:
            return {}
        life = max(found, key=lambda entry: entry.modified).key.rpartition("/")[0]
        job = self._cluster.jobs.known.get(name)
        life = f"{root}{job.uid}/story" if job is not None else life
        keys = [entry.key for entry in found if entry.key.startswith(f"{life}/")]
        contents = await asyncio.gather(*(self._archive.get(key) for key in keys))
        return {key.rpartition("/")[2]: _page(content) for key, content in zip(keys, contents, strict=True)}

    async def _of_pod(self, pod: PodRecord) -> _Page:
        found: Manifest = {}
        with suppress(Absent):
            found = await self._client.get(self._client.path("", "pods", pod.name))
        statuses = found.get("status", {}).get("containerStatuses") or []
        image = next((one.get("imageID", "") for one in statuses if one["name"] == CONTAINER), "")
        end = pod.ended or pod.last_end
        run = Run(
            pod.name,
            pod.node,
            image,
            end.exit_code if end else None,
            end.reason if end else pod.reason,
            pod.started,
            end.at if end else None,
        )
        return _Page(await self._events(pod.name), run)

    async def _events(self, name: str) -> list[Event]:
        query = {"fieldSelector": f"involvedObject.name={name}"}
        path = self._client.path("", "events")
        return [_event(item) async for page in self._client.pages(path, query) for item in page["items"]]


def _event(found: Manifest) -> Event:
    """Newer senders give `eventTime` and a series in the place of the counted fields."""
    series = found.get("series") or {}
    first = found.get("firstTimestamp") or found.get("eventTime") or found["metadata"]["creationTimestamp"]
    last = found.get("lastTimestamp") or series.get("lastObservedTime") or first
    about = found["involvedObject"]
    return Event(
        f"{about.get('kind', '')}/{about.get('name', '')}",
        found.get("type", ""),
        found.get("reason", ""),
        clean(found.get("message", ""))[:_TEXT],
        found.get("count") or series.get("count") or 1,
        _time(first) or _NEVER,
        _time(last) or _NEVER,
    )


_NEVER = datetime.fromtimestamp(0, UTC)


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
