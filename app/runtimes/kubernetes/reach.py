"""How this gateway reaches the pods of servers: by their IP, by a Service, or through the cluster's API."""

from __future__ import annotations

import json
from typing import Protocol

import aiohttp

from app.core.addresses import Address, Via
from app.core.errors import RuntimeUnavailable
from app.runtimes.kubernetes import manifests
from app.runtimes.kubernetes.client import Absent, Client, Taken
from app.runtimes.kubernetes.manifests import PORT
from app.runtimes.kubernetes.records import PodRecord, ServerRecord
from app.runtimes.kubernetes.settings import KubernetesSettings

_ASK_TIMEOUT = aiohttp.ClientTimeout(total=2)
_LARGEST_ANSWER = 1 << 16


class Reach(Protocol):
    """One way to the pods. `direct`: it leads to a pod as soon as that listens, whatever the cluster says of it."""

    direct: bool

    async def prepare(self, server: ServerRecord) -> bool:
        """Make what this way needs besides the Deployment; True if that changed what `address` says. Idempotent."""

    def address(self, server: ServerRecord, pod: PodRecord) -> Address | None:
        """Where predictions for this pod go; None as long as that is not known. Equal for pods that a Service joins."""

    async def ask(self, pod: PodRecord) -> dict[str, object] | None:
        """What the pod says at its health path, ready or not; None if it says nothing that can be read."""

    async def close(self) -> None:
        """Let go of connections."""


def reach(settings: KubernetesSettings, client: Client) -> Reach:
    """The way that the settings choose."""
    if settings.reach == "pod":
        return ByPod()
    return ByService(client) if settings.reach == "service" else ByApiServer(client)


class ByPod:
    """Directly, as pods and nodes of the cluster can: the fastest, and each replica's load is known."""

    direct = True
    _session: aiohttp.ClientSession | None = None

    async def prepare(self, server: ServerRecord) -> bool:
        return False

    def address(self, server: ServerRecord, pod: PodRecord) -> Address | None:
        return Address(pod.ip, PORT) if pod.ip else None

    async def ask(self, pod: PodRecord) -> dict[str, object] | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_ASK_TIMEOUT, trust_env=False)
        try:
            url = f"http://{pod.ip}:{PORT}{pod.health_path}"
            async with self._session.get(url, allow_redirects=False) as answer:
                return _words(await answer.content.read(_LARGEST_ANSWER))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


class ByApiServer:
    """Through the API server's proxy, from anywhere that it can be reached from: slow, and needs `pods/proxy`."""

    direct = True

    def __init__(self, client: Client) -> None:
        self._client = client
        self._authorization = ""

    async def prepare(self, server: ServerRecord) -> bool:
        before, self._authorization = self._authorization, await self._client.authorization()
        return before != self._authorization

    def address(self, server: ServerRecord, pod: PodRecord) -> Address | None:
        host, port, tls = self._client.endpoint
        return Address(host, port, Via(_proxied(self._client, pod), tls, self._authorization))

    async def ask(self, pod: PodRecord) -> dict[str, object] | None:
        try:
            return _words(await self._client.ask(f"{_proxied(self._client, pod)}{pod.health_path}", _ASK_TIMEOUT))
        except RuntimeUnavailable:
            return None

    async def close(self) -> None:
        pass


class ByService(ByApiServer):
    """By the cluster IP of a Service, where a policy or a mesh wants that. The cluster chooses the pod.

    What pods that are not ready say is asked through the API server: no Service leads to them.
    """

    direct = False

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._ips: dict[str, str] = {}  # by the Deployment's uid

    async def prepare(self, server: ServerRecord) -> bool:
        if server.object_uid in self._ips or server.deleting:
            return False
        services = self._client.path("", "services")
        try:
            made = await self._client.create(services, manifests.service(server.name, server.object_uid))
        except Taken:
            try:
                made = await self._client.get(self._client.path("", "services", server.name))
            except Absent:
                return False
        owners = [owner.get("uid") for owner in made["metadata"].get("ownerReferences", [])]
        if server.object_uid not in owners:  # an earlier life's, which goes with its Deployment
            return False
        self._ips[server.object_uid] = made["spec"]["clusterIP"]
        return True

    def address(self, server: ServerRecord, pod: PodRecord) -> Address | None:
        ip = self._ips.get(server.object_uid)
        return Address(ip, PORT) if ip else None


def _proxied(client: Client, pod: PodRecord) -> str:
    return client.path("", "pods", f"{pod.name}:{PORT}", "proxy")


def _words(content: bytes) -> dict[str, object] | None:
    try:
        said = json.loads(content)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None
