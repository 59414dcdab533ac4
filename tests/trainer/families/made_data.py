"""Made data: small datasets whose pattern a small model finds in seconds."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}
DIGITS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def coloured_shapes(folder: Path, images: int = 20, size: int = 20, classes: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """A folder a colour, each with `images` discs of about that colour on a dark ground."""
    chance = random.Random(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(images):
            image = Image.new("RGB", (size, size), tuple(chance.randrange(60) for _ in range(3)))
            x, y, width = chance.randrange(6), chance.randrange(6), chance.randrange(8, 13)
            colour = tuple(value + chance.randrange(-30, 30) for value in COLOURS[name])
            ImageDraw.Draw(image).ellipse([x, y, x + width, y + width], fill=colour)
            image.save(folder / name / f"{number:03}.png")
    return folder


def reviews(path: Path, rows: int = 160, labels: tuple[str, str] = ("bad", "good")) -> Path:
    """A table of sentences in the column `text`, whose adjective decides the column `label`."""
    chance = random.Random(0)
    adjectives = (["awful", "dull", "poor", "weak", "boring"], ["lovely", "great", "superb", "fine", "charming"])
    lines = ["text,label"]
    for _ in range(rows):
        number = chance.randrange(2)
        noun, place = chance.choice(["film", "book", "meal"]), chance.choice(["here", "there"])
        lines.append(f"the {noun} was {chance.choice(adjectives[number])} {place},{labels[number]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def countings(path: Path, texts: int = 80) -> Path:
    """Paragraphs that count from one to ten, each beginning somewhere."""
    chance = random.Random(0)
    starts = [chance.randrange(5) for _ in range(texts)]
    path.write_text("\n\n".join(" ".join(DIGITS[start:]) for start in starts), encoding="utf-8")
    return path
