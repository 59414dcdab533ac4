"""Harm to the cluster itself. Others may use it, so it is done only with a command that says that it may be."""

from __future__ import annotations

import os

# As in `COMMAND kill kube-apiserver`, `COMMAND start kubelet`, `COMMAND freeze etcd`, `COMMAND thaw etcd`.
COMMAND = os.environ.get("MODELYARD_CLUSTER_FAULTS", "")
UNPROVED = (
    "MODELYARD_CLUSTER_FAULTS names no command that may harm the cluster, so what outages do to it stays unproved."
)
