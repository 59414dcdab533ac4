"""Environments: a virtual one for each peer, made of exact versions once and kept by their hash in the cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("MODELYARD_CACHE") or Path.home() / ".cache" / "modelyard")
TORCH = "torch==2.13.0"
PACKAGES = {
    "bare": ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0", "orjson==3.13.0"),
    "bentoml": ("bentoml==1.4.39",),
    "litserve": ("litserve==0.2.19",),
    "mlflow": ("mlflow==3.17.2",),
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22"),  # its workers do not start with a newer
    "mosec": ("mosec==0.9.8",),
    "ray": ("ray[serve]==2.60.0",),
}
MADE = "made"  # the file that says that a folder is whole


def python(peer: str) -> Path:
    """The interpreter of this peer's environment, which is made if it is not there. It finds torch once `torch` ran.

    Raises `RuntimeError` if something cannot be installed.
    """
    scikit_learn = f"scikit-learn=={importlib.metadata.version('scikit-learn')}"  # the one that saves the models
    packages = (*PACKAGES[peer], scikit_learn, "joblib")

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        _install(folder / "bin" / "python", *packages)
        site = next(folder.glob("lib/python*/site-packages"))
        (site / "zz_torch.pth").write_text(f"{_folder('torch', TORCH)}\n")  # last: what the peer brings goes before it

    return _made(_folder(peer, *packages), make) / "bin" / "python"


def torch() -> None:
    """Install torch where all environments look for it: one copy of a gigabyte, which counts for no peer."""
    _made(
        _folder("torch", TORCH), lambda folder: _install(Path(sys.executable), TORCH, "numpy", "--target", str(folder))
    )


def _install(interpreter: Path, *arguments: str) -> None:
    quiet = ("-qq", "--disable-pip-version-check", "--prefer-binary")
    if subprocess.run([interpreter, "-m", "pip", "install", *quiet, *arguments]).returncode:
        raise RuntimeError(f"pip could not install {' '.join(arguments)}.")


def _folder(name: str, *packages: str) -> Path:
    key = hashlib.sha256("\n".join((sys.version, *packages)).encode()).hexdigest()[:12]
    return CACHE / f"peer-{name}-{key}"


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, whole: made now unless it was; what a broken attempt left is thrown away."""
    with _alone(folder):
        if not (folder / MADE).exists():
            print(f"Installing packages into {folder} (once) ...", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / MADE).touch()
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
