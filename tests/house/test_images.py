"""Each image holds all of our code that its program imports: only what its Dockerfile copies is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COPY = re.compile(r"^COPY ((?:\S+ )+)(\S+)$", re.MULTILINE)


@pytest.mark.parametrize(
    ("dockerfile", "modules"),
    [
        ("fastapi", "app.main, app.__main__, app.runtimes.kubernetes.runtime, app.archive.s3"),
        ("trainer", "trainer.main"),
        ("inference", "inference_server.main"),
    ],
)
def test_an_image_has_what_its_program_imports(dockerfile: str, modules: str, tmp_path: Path) -> None:
    text = (CHECKOUT / "docker" / f"Dockerfile.{dockerfile}").read_text()
    for sources, target in COPY.findall(text):
        for source in sources.split():
            put(CHECKOUT / source, tmp_path / target.removeprefix("/srv/"))
    command = [sys.executable, "-c", f"import {modules}"]
    done = subprocess.run(command, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def put(source: Path, target: Path) -> None:
    """As COPY does: a folder's content becomes the target's."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
