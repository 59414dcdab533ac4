"""Columns: which columns of a table can be learnt from, as what kind, and a sentence for each that cannot."""

from __future__ import annotations

import datetime
import decimal
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inference_server.families.rows import LARGEST_NUMBER, Feature
from inference_server.words import shown
from trainer.families.base import DataUnreadable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MAX_CATEGORIES = 50  # of a column; the rarer ones become one
_NUMERIC_SHARE = 0.9  # a column with this share of numbers is one of numbers, and other text in it a mistake
_DATE = r"(\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{4})([T ].*)?"
_DATE_SAMPLE = 1000


def choose_features(frame: pd.DataFrame) -> tuple[Feature, ...]:
    """The columns to learn from, in the table's order; what is left out and why goes to the log.

    Raises `DataUnreadable` for text or infinite values among numbers, and if no column is left.
    """
    features = []
    for name in frame.columns:
        kind, why_not = _kind(frame[name])
        if kind:
            features.append(Feature(str(name), kind))
        else:
            log.info("Column %r is left out: %s.", name, why_not)
    if not features:
        raise DataUnreadable("The dataset has no column to learn from besides the target.")
    return tuple(features)


def feature_frame(frame: pd.DataFrame, features: tuple[Feature, ...]) -> pd.DataFrame:
    """The features alone, in their order: float64 for numbers and booleans, str for categories, NaN where missing."""
    import pandas as pd

    columns = {f.name: frame[f.name] for f in features}
    texts = {f.name for f in features if f.kind == "category"}
    return pd.DataFrame(
        {name: column.astype("str").array if name in texts else as_floats(column) for name, column in columns.items()},
        copy=False,
    )


def numbers(column: pd.Series[Any], what: str) -> npt.NDArray[np.float64]:
    """The column as float64, NaN where missing. Raises `DataUnreadable` for text and for numbers without end."""
    converted: npt.NDArray[np.float64] = as_floats(column)
    if (text := np.isnan(converted) & column.notna().to_numpy()).any():
        raise DataUnreadable(f"{what} has text where numbers belong: {_first(column, text)}.")
    if np.isinf(converted).any():
        raise DataUnreadable(f"{what} has infinite numbers: {_first(column, np.isinf(converted))}.")
    if (np.abs(converted) > LARGEST_NUMBER).any():
        where = _first(column, np.abs(converted) > LARGEST_NUMBER)
        raise DataUnreadable(f"{what} has a number beyond {LARGEST_NUMBER:g}: {where}.")
    return converted


def as_floats(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    """Numbers, booleans and numbers written as text as float64; NaN for all else."""
    import pandas as pd

    return np.asarray(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))


def is_boolean(column: pd.Series[Any]) -> bool:
    return column.dtype == "bool" or (_is_object(column) and _all_of(column, (bool, np.bool_)))


def _kind(column: pd.Series[Any]) -> tuple[str | None, str]:
    """The kind of feature that this column is; or None, and why it is none."""
    import pandas as pd

    if column.isna().all():
        return None, "all its values are missing"
    if is_boolean(column):
        return "boolean", ""
    if pd.api.types.is_numeric_dtype(column.dtype) or (_is_object(column) and _all_of(column, (decimal.Decimal,))):
        numbers(column, f"Column {column.name!r}")
        return "number", ""
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or _all_of(column, (datetime.date,)):
        return None, "it holds dates; add columns of numbers, such as the year or an age, to learn from them"
    if not _all_of(column, (str,)):
        return None, "it holds neither numbers nor text"
    return _kind_of_text(column)


def _kind_of_text(column: pd.Series[Any]) -> tuple[str | None, str]:
    import pandas as pd

    present = column.dropna()
    if pd.to_numeric(present, errors="coerce").notna().mean() >= _NUMERIC_SHARE:
        numbers(column, f"Column {column.name!r}")
        return "number", ""
    if present.iloc[:_DATE_SAMPLE].astype(str).str.fullmatch(_DATE).all():
        return None, "it holds dates; add columns of numbers, such as the year or an age, to learn from them"
    distinct = present.nunique()
    if distinct > max(MAX_CATEGORIES, len(present) / 2):
        return None, f"{distinct} of its {len(present)} texts are distinct, as with names and ids"
    if distinct > MAX_CATEGORIES:
        log.info("Column %r has %d categories; the rarest are taken for one.", column.name, distinct)
    return "category", ""


def _is_object(column: pd.Series[Any]) -> bool:
    return bool(column.dtype == "object" or column.dtype == "category")


def _all_of(column: pd.Series[Any], types: tuple[type, ...]) -> bool:
    if column.dtype == "str":
        return str in types
    return all(isinstance(value, types) for value in column.dropna())


def _first(column: pd.Series[Any], bad: npt.NDArray[np.bool_]) -> str:
    row = int(np.argmax(bad))
    value = column.iloc[row]
    return f"data row {row + 1} holds {shown(value) if isinstance(value, str) else value}"
