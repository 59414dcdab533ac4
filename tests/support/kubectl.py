"""Whether the kubectl of this machine can render the platform's manifests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache

_NEEDED = (1, 21)  # since then its kustomize knows components
UNPROVED = "no kubectl of 1.21 or newer here, so it stays unproved that the platform's manifests render and deploy"


@cache
def renders() -> bool:
    if shutil.which("kubectl") is None:
        return False
    command = ["kubectl", "version", "--client", "--output", "json"]
    said = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    version = json.loads(said)["clientVersion"]
    return tuple(int(re.sub(r"\D", "", version[part])) for part in ("major", "minor")) >= _NEEDED
