"""Damaged notes in the home: each hides its own task at worst, and nobody else's."""

from __future__ import annotations

import pytest

from tests.app.runtimes.local.workshop import Workshop, ended, runs

SLEEP = "import time\nprint('ready', flush=True)\ntime.sleep(60)"


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"run": 1, "seen": {"state": "x"}}', '{"pid": 1}'])
@pytest.mark.parametrize(
    "note", ["wish.json", "observed.json", "attempts/1/process.json", "attempts/1/launch.json", "attempts/1/exit.json"]
)
async def test_a_damaged_note_keeps_no_other_task_from_its_turn(workshop: Workshop, note: str, content: str) -> None:
    async with workshop.runtime() as runtime:
        await runs(runtime, workshop.job("struck", SLEEP))
    (workshop.home / "jobs/struck" / note).write_text(content)
    (workshop.home / "active/stray").touch()
    async with workshop.runtime() as runtime:
        await runtime.observe_jobs(["struck"])
        await runtime.apply(workshop.job("other", "print('done')"))
        assert (await ended(runtime, "other")).exit_code == 0
        await runtime.check()
