"""What the soak asks: deployments of several families, and questions with the answers of the model in this process."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import packages
from answers import SMALLEST
from samples import Sample, forest, regression
from steady import Asked

QUESTIONS = 200  # of each deployment and protocol
CORPUS = "the invoice came late my parcel was broken please refund thanks for the quick help where is it who answers"
WORDS = CORPUS.split()
LABELS = ("complaint", "praise", "question")


@dataclass(frozen=True)
class Deployed:
    """A model's folder, the profile that it is deployed with, and `data` of requests that differ."""

    task: str
    profile: str
    folder: Path
    data: list[dict[str, Any]]

    def answers(self) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
        """Each request's data, and what the model, called in this process for it alone, answers.

        Without rows whose two likeliest classes are as good as equal: there both answers are right.
        """
        from inference_server.card import ModelCard
        from inference_server.families.base import load_family

        family = load_family(self.folder, ModelCard.read(self.folder))
        for data in self.data:
            answer = family.render(family.predict(family.parse(data)))
            if not any(map(_is_tie, answer["probabilities"])):
                yield data, answer


def _is_tie(probabilities: Mapping[str, float]) -> bool:
    *_, second, first = sorted(probabilities.values())
    return first - second < SMALLEST


def all_deployed(home: Path) -> list[Deployed]:
    draw = random.Random(0)
    tables = [_table(sample, home, draw) for sample in (forest(), regression())]
    return [*tables, _texts(home, draw)]


def _table(sample: Sample, home: Path, draw: random.Random) -> Deployed:
    columns = list(zip(*sample.rows, strict=True))
    ranges = [(min(column), max(column)) for column in columns]

    def row() -> list[float]:
        return [round(draw.uniform(low, high), 2) for low, high in ranges]

    data = [{"features": [row() for _ in range(_how_many(draw))]} for _ in range(QUESTIONS)]
    folder = packages.package(sample, home / sample.name)
    return Deployed(f"soak-{sample.name}", packages.FAMILY, folder, data)


def _how_many(draw: random.Random) -> int:
    """Mostly one; now and then many."""
    return draw.choice((1, 1, 1, 1, 2, 3, 8, 64))


def _texts(home: Path, draw: random.Random) -> Deployed:
    """A small transformer, trained here by the platform's own trainer for one epoch."""
    from app.core.profiles import Profiles
    from trainer.families.base import family_class
    from trainer.package import Package

    name = "text_classification"
    lines = ["text,label", *(f"{_text(draw)},{draw.choice(LABELS)}" for _ in range(300))]
    (home / "texts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    profile = Profiles.read(packages.CHECKOUT / "model_profiles.yaml")[name]
    family = family_class(name)(profile.resolve({"numEpoch": 1, "targetColumn": "label"}), "cpu")
    family.prepare(home / "texts.csv", None)
    for _ in family.epochs():
        pass
    data = [{"texts": [_text(draw) for _ in range(draw.choice((1, 1, 2, 5)))]} for _ in range(QUESTIONS)]
    return Deployed("soak-text", name, Package.build(family, 1, home / "text").folder, data)


def _text(draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(2, 60)))


def questions(deployed: Deployed, *, v2: bool) -> Iterator[Asked]:
    """In the platform's own protocol, and in Open Inference Protocol v2."""
    at = f"/api/v1/inference/{deployed.task}"
    for data, answer in deployed.answers():
        yield Asked.post(f"{at}/predict", {"data": data}, dict(answer))
        if v2:
            wants = {"outputs": [{"name": "predictions", "data": answer["predictions"]}]}
            yield Asked.post(f"{at}/v2/models/{deployed.task}/infer", _v2(data), wants)


def _v2(data: Mapping[str, Any]) -> dict[str, Any]:
    if "texts" in data:
        tensor = {"name": "texts", "datatype": "BYTES", "shape": [len(data["texts"])], "data": data["texts"]}
    else:
        rows = data["features"]
        numbers = [number for row in rows for number in row]
        tensor = {"name": "x", "datatype": "FP64", "shape": [len(rows), len(rows[0])], "data": numbers}
    return {"inputs": [tensor], "outputs": [{"name": "predictions"}]}
