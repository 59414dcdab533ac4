"""Memory: tables that would not fit are refused with their numbers, before they are read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.families.base import DataUnreadable
from trainer.memory import PROGRAM_BYTES, ensure_fits, ensure_images_fit, machine_limit, table_bytes

GIB = 1 << 30


def numbers(rows: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(rows, 5)), columns=list("abcde"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_estimate_grows_with_the_table_and_covers_its_frame(tmp_path: Path, suffix: str) -> None:
    estimates = []
    for rows in (20_000, 40_000):
        path = tmp_path / f"{rows}.{suffix}"
        frame = numbers(rows)
        {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(
            suffix, lambda path, index=True, frame=frame: frame.to_json(path, orient="records", lines=True)
        )(path, index=False)
        estimates.append(table_bytes(path))
        assert 3 * rows * 5 * 8 < estimates[-1] < 12 * rows * 5 * 8
    assert estimates[1] == pytest.approx(2 * estimates[0], rel=0.1)


def test_a_table_that_does_not_fit_is_refused_with_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    numbers(50_000).to_csv(path, index=False)
    ensure_fits(path, 2 * GIB)
    with pytest.raises(DataUnreadable) as refused:
        ensure_fits(path, PROGRAM_BYTES + (4 << 20))
    assert re.fullmatch(
        r"The dataset \(\d MiB\) would need about 32\d MiB of memory; 324 MiB are allowed\. .*", str(refused.value)
    )


def test_a_small_file_that_unpacks_to_a_large_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pd.DataFrame({"a": np.zeros(3_000_000), "b": np.zeros(3_000_000)}).to_parquet(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataUnreadable, match="of memory; 400 MiB are allowed"):
        ensure_fits(path, 400 << 20)


def test_categories_count_as_the_columns_that_they_become(tmp_path: Path) -> None:
    rows = 10_000
    few, many = tmp_path / "few.csv", tmp_path / "many.csv"
    pd.DataFrame({"t": [f"{n % 2:04d}x" for n in range(rows)]}).to_csv(few, index=False)
    pd.DataFrame({"t": [f"{n % 40:04d}x" for n in range(rows)]}).to_csv(many, index=False)
    assert table_bytes(many) - table_bytes(few) == pytest.approx(38 * 4 * rows, rel=0.05)


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"PAR1", b"{", b"a,b\n1,2,3\n4"])
def test_a_table_that_cannot_be_read_is_left_to_its_reader(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table").write_bytes(content)
    ensure_fits(tmp_path / "table", 1 * GIB)


def test_without_a_limit_the_machine_has_one() -> None:
    assert 0 < machine_limit() < 1 << 50


def test_images_that_would_not_fit_are_refused_with_the_numbers(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"")
    ensure_images_fit(tmp_path, 32, 1 << 30)
    with pytest.raises(DataUnreadable, match=r"4 images of 1024 pixels .* 344 MiB .* 336 MiB are allowed"):
        ensure_images_fit(tmp_path, 1024, 336 << 20)
