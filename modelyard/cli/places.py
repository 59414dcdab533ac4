"""Places: the checkout that this yard belongs to, its state folder, and the gateway that the commands talk to."""

from __future__ import annotations

import os
from pathlib import Path

import modelyard
from modelyard.cli.home import Home
from modelyard.client import DEFAULT_URL


def find_checkout(folder: Path | None = None) -> Path | None:
    """Modelyard's source folder: `folder`, else where yard was installed from, else this folder; None if it is none."""
    installed_from = Path(modelyard.__file__).resolve().parents[1]
    for place in [folder] if folder else [installed_from, Path.cwd()]:
        if (place / "app").is_dir() and (place / "model_profiles.yaml").is_file():
            return place.resolve()
    return None


def home_of(checkout: Path, home: Path | None = None) -> Home:
    """The state folder: `home`, else .modelyard in the checkout."""
    return Home((home or checkout / ".modelyard").absolute())


def gateway_url() -> str:
    """Where the commands look: MODELYARD_URL, else the gateway that `yard up` started here, else the default."""
    if url := os.environ.get("MODELYARD_URL"):
        return url
    home = _known_home()
    try:
        running = home.gateway() if home else None
    except OSError:  # someone else's folder: its gateway is not ours to know
        running = None
    return running.url if running else DEFAULT_URL


def _known_home() -> Home | None:
    if folder := os.environ.get("MLOPS_HOME"):
        return Home(Path(folder).absolute())
    checkout = find_checkout()
    return home_of(checkout) if checkout else None
