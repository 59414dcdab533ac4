"""Labels: the target column as quantities or as classes, and a sentence for each target that cannot be learnt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainer.datasets import MINIMUM_ROWS
from trainer.families.base import DataUnreadable
from trainer.families.columns import as_floats, is_boolean, numbers

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_FEW_CLASSES = 20  # up to here a class a row may be chance; beyond it the column is a quantity or an id
_MLFLOW_TYPES = {"b": "boolean", "i": "long", "f": "double", "U": "string"}


def quantities(table: pd.DataFrame, target: str) -> tuple[pd.DataFrame, npt.NDArray[np.float64]]:
    """The rows whose target is known, and their targets. Raises `DataUnreadable` for what are no numbers."""
    column = table[target]
    if not is_boolean(column):
        numbers(column, _named(target))
    table = _known(table, target)
    return table, as_floats(table[target])


def classes(table: pd.DataFrame, target: str) -> tuple[pd.DataFrame, npt.NDArray[Any]]:
    """The rows whose target is known, and their classes: booleans, whole numbers, or strings."""
    if not is_boolean(table[target]) and table[target].dtype.kind in "fiu":
        numbers(table[target], _named(target))
    table = _known(table, target)
    values = _as_classes(table[target])
    distinct = len(np.unique(values))
    if distinct < 2:
        raise DataUnreadable(f"{_named(target)} holds one class only: {values[0]!s:.60}.")
    if distinct > max(_FEW_CLASSES, len(values) / 2):
        sentence = f"{_named(target)} has {distinct} distinct values in {len(values)} rows, too many for classes."
        raise DataUnreadable(f"{sentence} For a quantity choose a regression profile.")
    return table, values


def mlflow_type(labels: npt.NDArray[Any]) -> str:
    return _MLFLOW_TYPES[labels.dtype.kind]


def _known(table: pd.DataFrame, target: str) -> pd.DataFrame:
    if not table[target].hasnans:
        return table
    known = table[table[target].notna()]
    log.info("Left out %d row(s) without a target.", len(table) - len(known))
    if len(known) < MINIMUM_ROWS:
        sentence = f"{len(known)} of the dataset's rows have a value in the target column {target!r}"
        raise DataUnreadable(f"{sentence}; at least {MINIMUM_ROWS} are needed.")
    return known


def _as_classes(column: pd.Series[Any]) -> npt.NDArray[Any]:
    if is_boolean(column):
        return np.asarray(column, dtype=np.bool_)
    if column.dtype.kind in "iu" or (column.dtype.kind == "f" and (column == column.round()).all()):
        return np.asarray(column, dtype=np.int64)
    return np.asarray(column.astype(str), dtype=np.str_)  # scikit-learn takes fractions for quantities


def _named(target: str) -> str:
    return f"The target column {target!r}"
