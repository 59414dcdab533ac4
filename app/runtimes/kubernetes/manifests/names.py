"""The words that our objects carry: labels, annotations, and what both sides of a manifest must agree upon."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

MANAGER = "modelyard"
MANAGED = {"app.kubernetes.io/managed-by": MANAGER}
INSTANCE = "app.kubernetes.io/instance"
VERSION = "app.kubernetes.io/version"
QUEUE = "kueue.x-k8s.io/queue-name"
TASK_ID, UID, RUN = "modelyard/task-id", "modelyard/uid", "modelyard/run"
RUN_ID = "modelyard/mlflow-run-id"
DIGEST, START_DEADLINE = "modelyard/spec-digest", "modelyard/start-deadline-seconds"
RUN_DEADLINE = "modelyard/run-deadline-seconds"
HEALTH_PATH, STOP = "modelyard/health-path", "modelyard/stop"
CONTAINER, PORT, GPU = "main", 8080, "nvidia.com/gpu"
