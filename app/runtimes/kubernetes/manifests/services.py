"""Manifests of Services, for gateways that reach servers by one."""

from __future__ import annotations

from app.runtimes.kubernetes.manifests.names import INSTANCE, MANAGED, MANAGER, PORT, Manifest


def service(name: str, deployment_uid: str) -> Manifest:
    """A v1 Service in front of a server's ready pods; it goes with its Deployment."""
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": deployment_uid}
    labels = {
        "app.kubernetes.io/name": f"{MANAGER}-server",
        INSTANCE: name,
        "app.kubernetes.io/component": "server",
        "app.kubernetes.io/part-of": MANAGER,
        **MANAGED,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "type": "ClusterIP",
            "selector": {INSTANCE: name, **MANAGED},
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT, "protocol": "TCP"}],
        },
    }
