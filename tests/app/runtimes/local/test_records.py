"""Records: a spec is the same after it was written down as JSON and read again."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import timedelta

import pytest

from app.core.specs import JobSpec, Placement, Program, Resources, ServerSpec, Toleration
from app.runtimes.local.records import job_spec, server_spec, spec_record
from inference_server.contract import Facts

PROGRAM = Program("m", {"A": "b"}, "image", ("numpy",), "pip install numpy", ("SECRET",))
PLACE = Placement({"disk": "ssd"}, (Toleration("key", "Exists"),), "nvidia")
FACTS = Facts("compiled", "Compiled, and equal.", 0.2, 70 << 20, 64, 1e-5, 2e-5, 1e-4, 3e-4)
MINUTE = timedelta(minutes=1)
JOB = JobSpec("train-a", "a", "u", PROGRAM, Resources(1, 2, 3), MINUTE, {"l": "x"}, PLACE, 2 * MINUTE, "queue")
SERVER = ServerSpec("serve-a", "a", "u", PROGRAM, Resources(1, 2), MINUTE, 2, "/ready", {"l": "x"}, PLACE, facts=FACTS)


def test_a_jobs_spec_comes_back() -> None:
    assert job_spec(json.loads(json.dumps(spec_record(JOB)))) == JOB


@pytest.mark.parametrize("facts", [FACTS, None])
def test_a_servers_spec_comes_back_with_its_models_facts(facts: Facts | None) -> None:

    spec = replace(SERVER, facts=facts)
    assert server_spec(json.loads(json.dumps(spec_record(spec)))) == spec


def test_every_field_was_tried() -> None:
    for spec in (JOB, SERVER):
        defaults = {field.name: field.default for field in fields(spec)}
        assert [name for name, default in defaults.items() if getattr(spec, name) == default] == []
