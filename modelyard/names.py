"""Names: task ids for those who bring none."""

from __future__ import annotations

import re
import secrets

MAX_LENGTH = 53  # leaves room for what Kubernetes appends within the 63 characters of a DNS label
_RANDOM_BYTES = 3


def new_task_id(verb: str, subject: str) -> str:
    """A readable, unique DNS label such as train-tabular-regression-5f0c1a, at most MAX_LENGTH characters."""
    words = re.sub(r"[^a-z0-9]+", "-", f"{verb}-{subject}".lower()).strip("-")
    suffix = secrets.token_hex(_RANDOM_BYTES)
    return f"{words[: MAX_LENGTH - len(suffix) - 1].rstrip('-')}-{suffix}"
