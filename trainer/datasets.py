"""Datasets: fetched files become tables and lists of images, and every way in which they can be wrong a sentence."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainer.families.base import DataUnreadable
from trainer.formats import Format, sniff

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MINIMUM_ROWS = 10  # fewer leave nothing to learn from and nothing to measure
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_JSON_BLOCK_BYTES = 16 << 20  # pyarrow refuses a line longer than a block
_CSV_DELIMITERS = (",", ";", "\t", "|")


def read_table(path: Path) -> pd.DataFrame:
    """The table in a CSV, Parquet or JSON lines file, rows numbered from 0, at least `MINIMUM_ROWS` of them.

    Columns without a name, as an index written along gets it, are left out. Raises `DataUnreadable`.
    """
    if path.is_dir():
        raise DataUnreadable("The dataset is a folder or an archive; a table is needed: CSV, Parquet or JSON lines.")
    frame = _without_unnamed(_READERS[_table_format(path)](path))
    if not len(frame.columns):
        raise DataUnreadable("The dataset has no columns.")
    if frame.empty:
        raise DataUnreadable("The dataset has a header and no rows.")
    if len(frame) < MINIMUM_ROWS:
        raise DataUnreadable(f"The dataset has too few rows: {len(frame)}, and at least {MINIMUM_ROWS} are needed.")
    return frame


def choose_target(frame: pd.DataFrame, wanted: str = "") -> str:
    """The column to predict: `wanted`, or if that is empty the one named target (in any case), or the last."""
    return _choose(frame, wanted, "target", "targetColumn") or str(frame.columns[-1])


def choose_text_column(frame: pd.DataFrame, wanted: str = "", besides: str | None = None) -> str:
    """The column that holds text: `wanted`, or the one named text (in any case), or the first of strings.

    `besides` is a column that cannot be it, such as a target that was named.
    """
    if chosen := _choose(frame, wanted, "text", "textColumn"):
        return chosen
    for name in frame.columns:
        if name != besides and is_text(frame[name]):
            return str(name)
    raise DataUnreadable(f"The dataset has no column of text; its columns are {_listed(frame.columns)}.")


def is_text(column: pd.Series[Any]) -> bool:
    """Whether the column holds strings: at least one, and nothing else but missing values."""
    values = column.dropna()
    return bool(len(values)) and (column.dtype == "str" or all(isinstance(value, str) for value in values))


def split_indices(
    rows: int, test_fraction: float, seed: int, labels: Sequence[Any] | npt.NDArray[Any] | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Row numbers to train on and to hold out, each sorted; the same for the same arguments.

    Both parts get two rows or more. With `labels` every class gives the same share as far as its size allows, and
    keeps at least one row to train on.
    """
    random = np.random.default_rng(seed)
    groups = [np.arange(rows)] if labels is None else _groups(np.asarray(labels))
    order = np.concatenate([_ranked(random.permutation(group)) for group in groups])
    ranks, numbers = order[:, 0], order[:, 1].astype(np.intp)
    count = min(max(round(rows * test_fraction), 2), rows - 2)
    numbers = numbers[np.argsort(ranks, kind="stable")]
    return np.sort(numbers[count:]), np.sort(numbers[:count])


def image_folders(path: Path) -> list[tuple[Path, str]]:
    """Each image below `path` with its class, the name of its folder; sorted by class and file.

    One folder around all of them, as archives often have it, is passed through. Raises `DataUnreadable` unless there
    are two classes or more, each with an image.
    """
    if not path.is_dir():
        raise DataUnreadable("The dataset is a single file; a zip or tar of image folders is needed, a folder a class.")
    folders = _folders(path)
    while len(folders) == 1 and not _images(path) and _folders(folders[0]):
        path = folders[0]
        folders = _folders(path)
    if len(folders) < 2:
        raise DataUnreadable(f"The dataset needs a folder of images a class, two or more; it has {len(folders)}.")
    for folder in folders:
        if not _images(folder):
            raise DataUnreadable(f"The dataset's folder {folder.name!r} holds no images.")
    return [(image, folder.name) for folder in folders for image in _images(folder)]


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def _images(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and p.name[0] != "."
    )


def _table_format(path: Path) -> Format:
    found = sniff(path)
    if found in (Format.ZIP, Format.TAR):
        raise DataUnreadable(f"The dataset is a {found} archive; a table is needed: CSV, Parquet or JSON lines.")
    return found


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, sep=csv_delimiter(path), encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError as error:
        raise DataUnreadable(_encoding_sentence(path)) from error
    except pd.errors.EmptyDataError as error:
        raise DataUnreadable("The dataset is empty.") from error
    except pd.errors.ParserError as error:
        raise DataUnreadable(_csv_sentence(str(error))) from error
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus first fields for an index
        raise DataUnreadable(f"The dataset's rows have more fields than its header names ({len(frame.columns)}).")
    return frame


def _encoding_sentence(path: Path) -> str:
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = f"line {number} has the byte 0x{line[error.start]:02x}"
                return f"The dataset is not UTF-8 text: {byte}. Save it as UTF-8."
    return ""


def csv_delimiter(path: Path) -> str:
    """The delimiter that gives the header the most fields. Refuses a header of numbers alone: it is a row."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        header = next((line for line in handle if line.strip()), "")
    csv.field_size_limit(max(len(header), csv.field_size_limit()))  # one field, if no delimiter fits
    fields = {delimiter: next(csv.reader([header], delimiter=delimiter)) for delimiter in _CSV_DELIMITERS}
    best = max(_CSV_DELIMITERS, key=lambda delimiter: len(fields[delimiter]))
    if all(_is_number(name) for name in fields[best]):
        raise DataUnreadable("The dataset's first line holds numbers; it must name the columns.")
    return best


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv_sentence(error: str) -> str:
    if fields := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error):
        expected, line, seen = fields.groups()
        return f"The dataset's line {line} has {seen} fields where {expected} are expected."
    if quote := re.search(r"EOF inside string starting at row (\d+)", error):
        return f"The dataset has a quotation mark that is never closed, in data row {quote[1]}."
    return f"The dataset is not readable as CSV: {error.strip()}"


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True, split_blocks=True, self_destruct=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataUnreadable(f"The dataset is a broken Parquet file: {_first_line(error)}") from error


def _read_json_lines(path: Path) -> pd.DataFrame:
    import pyarrow
    import pyarrow.json

    try:
        options = pyarrow.json.ReadOptions(block_size=_JSON_BLOCK_BYTES)
        return pyarrow.json.read_json(path, read_options=options).to_pandas(split_blocks=True, self_destruct=True)
    except pyarrow.ArrowException as error:
        sentence = f"The dataset is not readable as JSON lines: {_first_line(error)}"
        raise DataUnreadable(_encoding_sentence(path) or sentence) from error


_READERS = {Format.CSV: _read_csv, Format.PARQUET: _read_parquet, Format.JSON_LINES: _read_json_lines}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _without_unnamed(frame: pd.DataFrame) -> pd.DataFrame:
    frame.columns = [str(name) for name in frame.columns]
    unnamed = [name for name in frame.columns if not name.strip() or re.fullmatch(r"Unnamed: \d+", name)]
    if unnamed:
        log.info("Left out %d column(s) without a name.", len(unnamed))
    return frame.drop(columns=unnamed)


def _choose(frame: pd.DataFrame, wanted: str, usual: str, hyperparameter: str) -> str | None:
    if wanted and wanted not in frame.columns:
        columns = _listed(frame.columns)
        raise DataUnreadable(f"The dataset has no column {wanted!r} ({hyperparameter}); its columns are {columns}.")
    return wanted or next((str(name) for name in frame.columns if str(name).strip().lower() == usual), None)


def _listed(names: Sequence[object], most: int = 20) -> str:
    shown = ", ".join(str(name)[:60] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _groups(labels: npt.NDArray[Any]) -> list[npt.NDArray[np.intp]]:
    _, inverse = np.unique(labels, return_inverse=True)
    return [np.flatnonzero(inverse == number) for number in range(inverse.max() + 1)]


def _ranked(group: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Pairs (rank, row number) of a shuffled class: cut at one rank, all classes give up the same share.

    A class's last row ranks behind every other class's, so that it is held out only if nothing else is left.
    """
    ranks = (np.arange(len(group)) + 0.5) / len(group)
    ranks[-1] = 2.0
    return np.column_stack([ranks, group])
