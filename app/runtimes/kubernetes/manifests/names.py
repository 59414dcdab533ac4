"""The words that our objects carry: labels, annotations, and what both sides of a manifest must agree upon."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]

MANAGER = "modelyard"
MANAGED = {"app.kubernetes.io/managed-by": MANAGER}
INSTANCE = "app.kubernetes.io/instance"
TASK_ID, UID, RUN = "modelyard/task-id", "modelyard/uid", "modelyard/run"
DIGEST, START_DEADLINE = "modelyard/spec-digest", "modelyard/start-deadline-seconds"
HEALTH_PATH, STOP = "modelyard/health-path", "modelyard/stop"
CONTAINER, PORT, GPU = "main", 8080, "nvidia.com/gpu"
