"""Tables for tests, small and learnable."""

from __future__ import annotations

import random
from pathlib import Path


def write_csv(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def linear(path: Path, rows: int = 100, seed: int = 0) -> Path:
    """Columns a, b and target = 2 a - b, and a little noise."""
    draw = random.Random(seed)
    points = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(rows)]
    return write_csv(path, "a,b,target", [f"{a:.4f},{b:.4f},{2 * a - b + draw.gauss(0, 0.05):.4f}" for a, b in points])


def mixed(path: Path, rows: int = 120, seed: int = 0) -> Path:
    """A number, a category and a boolean, each missing here and there; the label follows from them."""
    draw = random.Random(seed)
    lines = []
    for _ in range(rows):
        age, city, member = draw.randint(1, 90), draw.choice(["Rome", "Oslo"]), draw.choice(["True", "False"])
        label = "high" if age > 45 else "low"
        shown = [str(age), city, member]
        if draw.random() < 0.2:
            shown[draw.randrange(3)] = ""
        lines.append(",".join([*shown, label]))
    return write_csv(path, "age,city,member,label", lines)
