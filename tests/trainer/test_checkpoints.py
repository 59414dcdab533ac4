"""Checkpoints and the journal: what a killed process leaves behind is whole, or is not taken."""

from __future__ import annotations

from pathlib import Path

from trainer.checkpoints import Checkpoint, Checkpoints
from trainer.families.base import Epoch
from trainer.journal import Entry, Journal


class Counter:
    """A family whose state is one number; `full` stands for a full disk."""

    def __init__(self, value: int, full: bool = False) -> None:
        self._value = value
        self._full = full

    def checkpoint(self, folder: Path) -> None:
        (folder / "value").write_text(str(self._value))
        if self._full:
            raise OSError(28, "No space left on device")


def checkpoints(folder: Path, uploaded: list[Path] | None = None) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", ([] if uploaded is None else uploaded).append)


def keep(folder: Path, epoch: int, full: bool = False) -> None:
    checkpoints(folder).keep(Counter(epoch, full), Epoch(epoch, 10, {}))  # type: ignore[arg-type]


def test_there_is_none_before_the_first(tmp_path: Path) -> None:
    assert checkpoints(tmp_path).latest() is None


def test_the_newest_is_found_and_the_older_are_gone(tmp_path: Path) -> None:
    for epoch in (1, 2, 10):
        keep(tmp_path, epoch)
    found = checkpoints(tmp_path).latest()
    assert found is not None
    assert (found.epoch, found.of, (found.state / "value").read_text()) == (10, 10, "10")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["10"]


def test_the_same_epoch_may_be_kept_twice(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    keep(tmp_path, 3)
    assert checkpoints(tmp_path).latest() is not None


def test_a_full_disk_costs_the_new_checkpoint_and_not_the_old_one(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    keep(tmp_path, 2, full=True)
    found = checkpoints(tmp_path).latest()
    assert found is not None and found.epoch == 1


def test_a_damaged_checkpoint_is_not_taken(tmp_path: Path) -> None:
    keep(tmp_path, 1)
    (tmp_path / "checkpoints/1/state/value").write_text("2")
    assert checkpoints(tmp_path).latest() is None
    assert Checkpoint.read(tmp_path / "nowhere") is None


def test_each_checkpoint_is_uploaded(tmp_path: Path) -> None:
    uploaded: list[Path] = []
    kept = checkpoints(tmp_path, uploaded)
    kept.keep(Counter(1), Epoch(1, 10, {}))  # type: ignore[arg-type]
    kept.await_upload(10)
    assert [path.name for path in uploaded] == ["1"]


def test_a_journal_forgets_what_is_to_be_done_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "epochs.jsonl")
    entries = [Entry(epoch, epoch, {"loss": 1 / epoch}) for epoch in (1, 2, 3)]
    for entry in entries:
        journal.append(entry)
    assert journal.rewind(2) == entries[:2]
    journal.append(entries[2])
    assert journal.rewind(3) == entries


def test_a_journal_survives_a_writer_killed_in_the_middle_of_a_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "epochs.jsonl")
    journal.append(Entry(1, 1, {"loss": 0.5}))
    with (tmp_path / "epochs.jsonl").open("a") as handle:
        handle.write('{"epoch": 2, "at"')
    assert [entry.epoch for entry in journal.rewind(9)] == [1]
    assert Journal(tmp_path / "none.jsonl").rewind(9) == []
