"""Memory: a dataset that will not fit is refused with its numbers, before the kernel kills without a word."""

from __future__ import annotations

import csv
import io
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.datasets import csv_delimiter
from trainer.families.base import DataUnreadable
from trainer.formats import Format, sniff

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SAMPLE_BYTES = 1 << 20
SAMPLE_ROWS = 1000

# Measured with scikit-learn 1.9, pandas 3.1, pyarrow 25, MLflow 3.17, and rounded up: the resident peak of one epoch on
# tables of 0.5 to 3 million rows. The program alone takes 270 MiB. Beyond it a byte of the DataFrame costs 2.9 to 3.4
# where it came from CSV, 4 to 6.4 from Parquet and 4.3 to 8.2 from JSON lines (both pass through Arrow tables); a
# category is a column of 4-byte numbers besides.
PROGRAM_BYTES = 320 << 20
PEAK_PER_FRAME_BYTE = {Format.CSV: 4.0, Format.PARQUET: 6.5, Format.JSON_LINES: 8.5}
ONE_HOT_BYTES = 4
MAX_CATEGORIES = 50

_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def ensure_fits(table: Path, limit_bytes: int) -> None:
    """Raise `DataUnreadable` if training on the table would need more than `limit_bytes` (0: what this machine has).

    The estimate reads a sample; a table that cannot be read is left to whoever reads it properly.
    """
    limit = limit_bytes or machine_limit()
    needed = PROGRAM_BYTES + table_bytes(table)
    if needed > limit:
        size = table.stat().st_size
        raise DataUnreadable(
            f"The dataset ({_mib(size)}) would need about {_mib(needed)} of memory; {_mib(limit)} are allowed. "
            "Use a profile with more memory, or fewer rows or columns."
        )


def ensure_images_fit(folder: Path, image_size: int, limit_bytes: int) -> None:
    """As `ensure_fits`, for a folder of images that are all held scaled: once as read, and once stacked."""
    count = sum(path.is_file() for path in folder.rglob("*"))
    needed, limit = PROGRAM_BYTES + 2 * count * 3 * image_size**2, limit_bytes or machine_limit()
    if needed > limit:
        raise DataUnreadable(
            f"{count} images of {image_size} pixels a side would need about {_mib(needed)} of memory; {_mib(limit)} "
            "are allowed. Use a profile with more memory, a smaller imageSize, or fewer images."
        )


def machine_limit() -> int:
    """Bytes that this process may come to use: what is free, or what its control group allows if that is less."""
    free = _kibibytes("/proc/meminfo", "MemAvailable") + _kibibytes("/proc/self/status", "VmRSS")
    limits = [Path(file).read_text().strip() for file in _CGROUP_FILES if Path(file).exists()]
    return min([free, *(int(limit) for limit in limits if limit.isdecimal())])


def table_bytes(table: Path) -> int:
    """About how much memory training on this table takes at its peak, besides the program itself; 0 if unreadable."""
    import pyarrow

    try:
        kind = sniff(table)
        sample, share = _sample(table, kind)
    except (DataUnreadable, ValueError, csv.Error, pyarrow.ArrowException, OSError):
        return 0
    frame = int(sample.memory_usage(index=False, deep=True).sum())
    return int((frame * PEAK_PER_FRAME_BYTE[kind] + _one_hot(sample)) / share)


def _sample(table: Path, kind: Format) -> tuple[pd.DataFrame, float]:
    """The first rows, and which share of the table they are."""
    import pandas as pd
    import pyarrow.json
    import pyarrow.parquet

    if kind is Format.PARQUET:
        with pyarrow.parquet.ParquetFile(table) as opened:
            batch = next(opened.iter_batches(SAMPLE_ROWS), None)
            rows = opened.metadata.num_rows
        return (batch.to_pandas(), len(batch) / rows) if batch else (pd.DataFrame(), 1.0)
    with table.open("rb") as handle:
        head = handle.read(SAMPLE_BYTES)
    if len(head) == SAMPLE_BYTES:
        head = head[: head.rfind(b"\n") + 1]
    share = max(len(head), 1) / table.stat().st_size
    if kind is Format.JSON_LINES:
        return pyarrow.json.read_json(io.BytesIO(head)).to_pandas(), share
    return pd.read_csv(io.BytesIO(head), sep=csv_delimiter(table)), share


def _one_hot(sample: pd.DataFrame) -> int:
    """Bytes of the sample's categories when each is a column of its own. Texts that hardly repeat are none."""
    counts = (sample[name].astype(str).nunique() for name in sample.columns if sample[name].dtype in ("str", "object"))
    wide = sum(min(count, MAX_CATEGORIES) for count in counts if count <= max(MAX_CATEGORIES, len(sample) / 2))
    return int(wide * ONE_HOT_BYTES * len(sample))


def _kibibytes(file: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(file).read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
