"""The rehearsal of a model before it is registered: compiled where that is equal, and measured as it will be served."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_server.card import ModelCard
from inference_server.facts import Facts
from tests.inference_server.models import EXAMPLE, classifier, regressor, write_model
from trainer.rehearsal import rehearse

HELD_OUT = [{"features": EXAMPLE}]


def test_a_model_is_compiled_and_measured_in_fresh_processes(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", classifier())
    facts = rehearse(folder, HELD_OUT)
    card = ModelCard.read(folder)
    assert card.is_compiled
    assert (folder / "model.skops").exists(), "the original stays"
    assert facts is not None
    assert (facts.served, facts.reason) == ("compiled", (card.compiled or {})["reason"])
    assert 0 < facts.row_p50_seconds <= facts.row_p99_seconds
    assert facts.load_seconds > 0
    assert 20 << 20 < facts.peak_memory_bytes < 150 << 20, "what a compiled model needs, and not what this process does"
    assert Facts.from_tag(facts.to_tag()) == facts


def test_what_cannot_be_compiled_is_served_as_it_is_and_the_card_says_why(tmp_path: Path) -> None:
    model = regressor()
    model.steps.insert(1, ("again", "passthrough"))
    folder = write_model(tmp_path / "model", model)
    (folder / "model.onnx").write_bytes(b"left by somebody")
    facts = rehearse(folder, HELD_OUT)
    card = ModelCard.read(folder)
    assert card.compiled == {
        "isEqual": False,
        "reason": "The model reads the texts of 'city' in a way for which no graph is known here.",
    }
    assert not (folder / "model.onnx").exists()
    assert facts is not None
    assert (facts.served, facts.reason) == ("original", card.compiled["reason"])


def test_a_compiler_that_fails_and_a_model_that_cannot_be_measured_do_no_harm(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", classifier())
    (folder / "model.skops").unlink()
    assert rehearse(folder, HELD_OUT) is None
    compiled = ModelCard.read(folder).compiled or {}
    assert compiled["isEqual"] is False
    assert compiled["reason"].startswith("The model could not be compiled: ")
    assert "model.skops cannot be read" in compiled["reason"]


@pytest.mark.parametrize("tag", [None, "", "5", "{", '{"served": "compiled"}', '{"loadSeconds": "x"}'])
def test_a_tag_that_says_something_else_is_no_facts(tag: str | None) -> None:
    assert Facts.from_tag(tag) is None
