"""Rehearsal: a family trained, saved and served as the trainer and the inference server do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from inference_server.card import ModelCard
from inference_server.families.base import Family as Served
from inference_server.families.base import load_family
from trainer.families.base import Family, family_class

torch.set_num_threads(1)  # on a busy machine, threads that wait for each other take several times as long

SETTINGS: dict[str, Any] = {
    "numEpoch": 4,
    "learningRate": 0.003,
    "numBatch": 16,
    "imageSize": 16,
    "maxLength": 24,
    "textColumn": "",
    "targetColumn": "",
    "testFraction": 0.25,
    "seed": 0,
}


def prepared(name: str, dataset: Path, initial: Path | None = None, **settings: Any) -> Family:
    family: Family = family_class(name)({**SETTINGS, **settings}, "cpu")
    family.prepare(dataset, initial)
    return family


def trained(name: str, dataset: Path, initial: Path | None = None, **settings: Any) -> Family:
    family = prepared(name, dataset, initial, **settings)
    for _ in family.epochs():
        pass
    return family


def saved(family: Family, folder: Path) -> Path:
    folder.mkdir()
    family.save(folder).write(folder)
    return folder


def served(folder: Path) -> Served:
    return load_family(folder, ModelCard.read(folder))


def answer(model: Served, data: object) -> dict[str, Any]:
    return dict(model.render(model.predict(model.parse(data))))


def interrupted_and_resumed(name: str, dataset: Path, folder: Path, stop_after: int, **settings: Any) -> Family:
    """Trained to `stop_after`, checkpointed, and gone on with in a fresh family to the end."""
    first = prepared(name, dataset, **settings)
    for epoch in first.epochs():
        if epoch.number == stop_after:
            break
    folder.mkdir()
    first.checkpoint(folder)
    second = prepared(name, dataset, **settings)
    second.resume(folder)
    rest = list(second.epochs())
    assert rest[0].number == stop_after + 1
    return second
