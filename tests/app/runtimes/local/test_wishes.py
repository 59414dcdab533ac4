"""Wishes: whatever is seen as accepted will be carried out, however its writer died."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from app.core.specs import JobSpec, Program, Resources
from app.runtimes.local import wishes as wishes_module
from app.runtimes.local.wishes import Wishes
from tests.support.killing import killed_at_line

SPEC = JobSpec("train-a", "a", "u", Program("m", {}, "image"), Resources(1, 1), timedelta(minutes=1))


def test_a_job_whose_gateway_was_killed_is_carried_out_or_unknown(tmp_path: Path) -> None:
    number, killed = 0, True
    while killed:
        number += 1
        wishes = Wishes(tmp_path / str(number))
        wishes.open()
        killed = killed_at_line(wishes_module, number, lambda wishes=wishes: wishes.apply(SPEC))  # type: ignore[misc]
        seen = list(wishes.observed_jobs([SPEC.name]))
        assert seen == [key.name for key, _ in wishes.active()], number
        wishes.open()
        wishes.apply(SPEC)
        assert [key.name for key, _ in wishes.active()] == [SPEC.name], number
    assert number > 20
