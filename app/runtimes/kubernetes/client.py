"""The one place that speaks to the cluster's API: plain JSON through the official client, errors translated once.

Typed models are left aside on purpose: reading 5,000 Jobs through them blocks the event loop for half a minute.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient, ApiException, Configuration
from kubernetes.aio.client.rest import RESTResponse
from kubernetes.aio.config import ConfigException, load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from app.core.errors import ConfigurationError, InvalidRequest, RuntimeUnavailable
from app.runtimes.kubernetes.manifests import MANAGER, Manifest
from app.runtimes.kubernetes.settings import KubernetesSettings

JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
PAGE = 100  # objects: a page is decoded in one go, which must not hold up the event loop
STRATEGIC = "application/strategic-merge-patch+json"
_NO_LOG = re.compile(rb"unable to retrieve container logs for \S+")
_NO_CONTAINER = re.compile("waiting to start|previous terminated container")  # whose log was asked for
_LOG_PAUSES = (0.2, 0.5, 1.0)  # seconds; a container that ends just now comes back in sight
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)


class Absent(Exception):  # noqa: N818 - the name says what it is
    """The cluster knows no such object."""


class Taken(Exception):  # noqa: N818
    """An object of this name exists, or it is not the one that was meant."""


class Expired(Exception):  # noqa: N818
    """The version to go on from is too old: list anew."""


class Client:
    """Requests to one namespace. Every method may raise `RuntimeUnavailable`."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self.namespace = namespace

    @classmethod
    async def connect(cls, settings: KubernetesSettings, connections: int = 100) -> Self:
        """Raises `ConfigurationError`. Sends nothing yet. At most so many `connections` at once; 0: any number."""
        configuration = Configuration(client_session_kwargs={"trust_env": False}, connection_pool_maxsize=connections)
        try:
            if settings.kubeconfig is None:
                load_incluster_config(configuration)
            else:
                await load_kube_config(
                    str(settings.kubeconfig), client_configuration=configuration, persist_config=False
                )
        except (ConfigException, OSError) as error:
            raise ConfigurationError(f"The cluster's credentials cannot be read: {error}") from error
        return cls(ApiClient(configuration), settings.namespace)

    async def close(self) -> None:
        await self._api.close()

    def path(self, group: str, kind: str, name: str = "", part: str = "") -> str:
        """Of an object or a list in the namespace; `group` as in `batch/v1`, empty for the core."""
        root = f"/apis/{group}" if group else "/api/v1"
        tail = "".join(f"/{quote(one, safe='')}" for one in (name, part) if one)
        return f"{root}/namespaces/{self.namespace}/{kind}{tail}"

    async def get(self, path: str, query: Mapping[str, str] = {}) -> Manifest:
        """Raises `Absent`."""
        return _object(await self._bytes("GET", path, query))

    async def create(self, path: str, manifest: Manifest) -> Manifest:
        """Raises `Taken`; changes nothing that exists. Raises `InvalidRequest` for what the cluster refuses."""
        return _object(await self._bytes("POST", path, {"fieldManager": MANAGER}, manifest))

    async def apply(self, path: str, manifest: Manifest) -> Manifest:
        """Server-side apply as our field manager. Raises `Taken` if the manifest names another object's uid."""
        return _object(await self._bytes("PATCH", path, {"fieldManager": MANAGER, "force": "true"}, manifest, APPLY))

    async def merge(self, path: str, patch: Manifest) -> Manifest:
        """Raises `Absent`."""
        return _object(await self._bytes("PATCH", path, {"fieldManager": MANAGER}, patch, MERGE))

    async def amend(self, path: str, patch: Manifest) -> Manifest:
        """A strategic merge patch. Raises `Absent`, and `Taken` if the patch names another object's uid."""
        return _object(await self._bytes("PATCH", path, {"fieldManager": MANAGER}, patch, STRATEGIC))

    async def delete(self, path: str, propagation: str = "Foreground", uid: str = "") -> None:
        """Harmless when repeated; with `uid` it spares other lives."""
        options: Manifest = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._bytes("DELETE", path, {}, options)
        except (Absent, Taken):
            return

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Manifest]:
        """A list, page by page. Raises `Expired` if it changed too much meanwhile."""
        follow = ""
        while True:
            page = await self.get(path, {**query, "limit": str(PAGE)} | ({"continue": follow} if follow else {}))
            yield page
            follow = page["metadata"].get("continue", "")
            if not follow:
                return

    async def log(self, pod: str, container: str, since: str = "") -> bytes:
        """The whole log that the node keeps, or what was written since a time (RFC 3339). Raises `Absent`.

        A node that cannot read a log says so in the place of the log, with status 200: that is no log.
        """
        query = {"container": container} | ({"sinceTime": since} if since else {})
        for pause in _LOG_PAUSES:
            content = await self._bytes("GET", self.path("", "pods", pod, "log"), query)
            if not _NO_LOG.fullmatch(content):
                return content
            await asyncio.sleep(pause)
        raise RuntimeUnavailable(f"The node of the pod {pod} cannot read its log.")

    @property
    def endpoint(self) -> tuple[str, int, ssl.SSLContext | None]:
        """Where the API listens, and the TLS that proves who we are if a certificate does; None: plain HTTP."""
        url = urlsplit(self._api.configuration.host)
        secure = url.scheme == "https"
        tls = self._api.rest_client.ssl_context if secure else None
        return url.hostname or "localhost", url.port or (443 if secure else 80), tls

    async def authorization(self) -> str:
        """The header's value that proves who we are, if a token does, else empty. Tokens in a cluster change hourly."""
        found = await self._api.configuration.auth_settings()
        return str(found["BearerToken"]["value"]) if "BearerToken" in found else ""

    async def ask(self, path: str, timeout: aiohttp.ClientTimeout) -> bytes:
        """What a pod answers through the API, whatever its status; at most 64 KiB of it."""
        prepared = await self._api.param_serialize("GET", path, auth_settings=["BearerToken"])
        try:
            answer = await self._api.call_api(*prepared[:3], _request_timeout=timeout)
            try:
                content: bytes = await answer.response.content.read(1 << 16)
                return content
            finally:
                answer.response.release()
        except (aiohttp.ClientError, OSError, TimeoutError, ApiException) as error:
            raise RuntimeUnavailable(f"The cluster's API does not serve GET {path}: {error}") from error

    @asynccontextmanager
    async def log_stream(
        self, pod: str, container: str, *, follow: bool, previous: bool, since: str = ""
    ) -> AsyncIterator[Callable[[], Awaitable[bytes]]]:
        """The log as the node writes it, each line behind its time: a call gives some bytes, or none at the end.

        `previous`: of the container that was restarted. `since` is RFC 3339, and counts in seconds. Raises `Absent`.
        """
        asked = {"container": container, "timestamps": "true", "follow": str(follow).lower()}
        asked |= ({"previous": "true"} if previous else {}) | ({"sinceTime": since} if since else {})
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=None if follow else 30)
        path = self.path("", "pods", pod, "log")
        async with self._answer("GET", path, asked, None, JSON, timeout) as answer:
            yield answer.response.content.readany

    async def watch(self, path: str, query: Mapping[str, str], version: str, seconds: int) -> AsyncIterator[Manifest]:
        """Events after `version`, for at most so many seconds. Raises `Expired`."""
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = aiohttp.ClientTimeout(total=seconds + 30, connect=5)
        async with self._answer("GET", path, {**asked, "resourceVersion": version}, None, JSON, timeout) as answer:
            async for line in _lines(answer.response.content):
                event = _object(line)
                if event["type"] == "ERROR":
                    _refuse(event["object"].get("code", 500), event["object"])
                yield event

    async def _bytes(
        self, method: str, path: str, query: Mapping[str, str], body: Manifest | None = None, content_type: str = JSON
    ) -> bytes:
        async with self._answer(method, path, query, body, content_type, _TIMEOUT) as answer:
            content: bytes = await answer.read()
            return content

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, query: Mapping[str, str], body: Manifest | None, content_type: str,
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[RESTResponse]:  # fmt: skip
        """An answer that is no error. The one translator of the API's errors."""
        headers = {"Content-Type": content_type, "Accept": "application/json, */*"}
        answer = None
        try:
            prepared = await self._api.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
            )
            answer = await self._api.call_api(*prepared[:3], body=body, _request_timeout=timeout)
            if answer.status >= 400:
                _refuse(answer.status, _status(await answer.read()))
            yield answer
        except (aiohttp.ClientError, OSError, TimeoutError, ApiException) as error:
            what = str(error) or type(error).__name__
            raise RuntimeUnavailable(f"The cluster's API does not serve {method} {path}: {what}") from error
        finally:
            if answer is not None:
                answer.response.release()


def _refuse(code: int, status: Manifest) -> None:
    """Raise what an error of the API means."""
    reason, message = status.get("reason", ""), status.get("message", "without a word")
    if code == 404:
        raise Absent(message)
    if code == 410:
        raise Expired(message)
    if code == 409:
        raise Taken(message)
    if code == 422:
        raise InvalidRequest(f"The cluster refuses it: {message}")
    if code == 400 and _NO_CONTAINER.search(message):
        raise Absent(message)
    raise RuntimeUnavailable(f"The cluster's API answers {code} {reason}: {message}")


def _status(content: bytes) -> Manifest:
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {"message": content[:200].decode(errors="replace")}
    return found if isinstance(found, dict) else {}


def _object(content: bytes) -> Manifest:
    try:
        found: Any = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise RuntimeUnavailable("The cluster's API answers something that is not JSON.") from error
    if not isinstance(found, dict):
        raise RuntimeUnavailable("The cluster's API answers something that is no object.")
    return found


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length; what is cut off at the end is dropped, as the next list brings it."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
