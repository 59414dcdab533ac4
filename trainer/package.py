"""The package: a trained model's folder as it will lie in MLflow, complete and proven before anything is uploaded."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference_server.card import ModelCard
from inference_server.facts import Facts
from inference_server.families.base import InputUnreadable, ModelUnreadable, load_original
from trainer.families.base import Family, TrainingFailed
from trainer.rehearsal import rehearse

log = logging.getLogger(__name__)

NAME = "model"  # of the logged model: runs:/<run id>/model
_EXAMPLE = "input_example.json"
_RESULT = "result.json"
_SKLEARN_MODEL = "model.skops"


@dataclass(frozen=True, slots=True)
class Package:
    """A model's folder, the epochs it was trained for, its final metrics, the most asked for first, and its facts."""

    folder: Path
    epochs: int
    metrics: Mapping[str, float]
    facts: Facts | None = None

    @classmethod
    def find(cls, home: Path) -> Package | None:
        """The package that `build` has put there, or None."""
        try:
            result = json.loads((home / _RESULT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        facts = result.get("facts")
        return cls(home / NAME, result["epochs"], result["metrics"], Facts.from_json(facts) if facts else None)

    @classmethod
    def build(cls, family: Family, epochs: int, home: Path) -> Package:
        """Save the model, prove that it answers its own example, rehearse it. All or nothing lies in `home` then."""
        draft = home.with_name(f"{home.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / NAME).mkdir(parents=True)
        metrics = dict(family.measure())
        card = family.save(draft / NAME)
        card.write(draft / NAME)
        _prove(draft / NAME)
        facts = rehearse(draft / NAME, family.held_out())
        _write_mlmodel(draft / NAME, card, family.signature())
        result = {"epochs": epochs, "metrics": metrics, "facts": facts.to_json() if facts else None}
        (draft / _RESULT).write_text(json.dumps(result), encoding="utf-8")
        draft.rename(home)
        return cls(home / NAME, epochs, metrics, facts)

    def sentence(self) -> str:
        """Such as: Trained 100 epochs on 353 rows; r2 0.47 on 89 held-out rows."""
        rows = {name: int(self.metrics[name]) for name in ("train_rows", "test_rows") if name in self.metrics}
        name = next((name for name in self.metrics if name not in rows), None)
        learnt = f"Trained {self.epochs} epoch{'s'[: self.epochs != 1]}"
        learnt += f" on {rows['train_rows']} rows" if "train_rows" in rows else ""
        if name is None:
            return learnt
        held_out = f"{rows['test_rows']} held-out rows" if "test_rows" in rows else "held-out rows"
        return f"{learnt}; {name} {self.metrics[name]:.3g} on {held_out}"


def address(folder: Path, model_id: str, run_id: str, location: str) -> None:
    """Write into MLmodel under which ids the folder will lie in MLflow."""
    from mlflow.models import Model

    model = Model.load(str(folder))
    model.model_id = model.model_uuid = model_id
    model.run_id, model.artifact_path = run_id, location
    model.save(str(folder / "MLmodel"))


def _prove(folder: Path) -> None:
    """As the server will do: load, parse the example, predict, render."""
    try:
        card = ModelCard.read(folder)
        family = load_original(folder, card)
        rows = family.parse(card.input_example)
        answer = family.render(family.predict(rows))
    except (ModelUnreadable, InputUnreadable, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise TrainingFailed(f"The trained model does not answer its own example: {error}") from error
    if len(answer["predictions"]) != len(rows):
        raise TrainingFailed(f"The trained model gives {len(answer['predictions'])} answers to {len(rows)} rows.")


def _write_mlmodel(folder: Path, card: ModelCard, signature: Any) -> None:
    from mlflow.models import Model

    model = Model(signature=signature)
    model.add_flavor("modelyard", family=card.family, format=card.format)
    if (folder / _SKLEARN_MODEL).exists():
        _add_sklearn_flavor(model)
    example, info = _example(card, signature)
    (folder / _EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
    model.saved_input_example_info = {"artifact_path": _EXAMPLE, **info}
    model.save(str(folder / "MLmodel"))


def _add_sklearn_flavor(model: Any) -> None:
    """So that `mlflow.sklearn.load_model` reads it; skops trusts all other types in it by default."""
    import sklearn

    model.add_flavor(
        "sklearn",
        pickled_model=_SKLEARN_MODEL,
        sklearn_version=sklearn.__version__,
        serialization_format="skops",
        skops_trusted_types=["numpy.dtype"],
        code=None,
    )


def _example(card: ModelCard, signature: Any) -> tuple[Any, dict[str, str]]:
    """The card's example in MLflow's form: a table's rows with their columns' names, or the object as it is."""
    if "features" not in card.input_example:
        return card.input_example, {"type": "json_object"}
    table = {"columns": signature.inputs.input_names(), "data": card.input_example["features"]}
    return table, {"type": "dataframe", "pandas_orient": "split"}
