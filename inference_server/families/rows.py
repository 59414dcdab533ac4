"""Rows of a table from JSON: lists in the card's order, objects with named columns, or one list a column.

What does not fit is refused in a sentence with its row, its column and a pointer; nothing is coerced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from inference_server.families.base import InputUnreadable, ModelUnreadable
from inference_server.words import escaped, short, shown

LARGEST_NUMBER = 1e100  # beyond it the sums and squares inside a model overflow to infinity
SHOWN_NAMES = 20
_NUMBERS = frozenset({float, int})

Value = float | str | None
Row = Sequence[Value]


class _Misfit(Exception):  # noqa: N818
    """A value is not of its column's kind; the text says what stands where what belongs."""


def _number(value: object) -> float | None:
    if value is None:
        return None
    if type(value) is not float and type(value) is not int:
        raise _Misfit(f"{shown(value)} where a number belongs")
    if abs(value) > LARGEST_NUMBER:
        raise _Misfit(f"{shown(value)}, and numbers beyond {LARGEST_NUMBER:g} cannot be computed with")
    return float(value)


def _category(value: object) -> str | None:
    if value is None or type(value) is str:
        return value
    raise _Misfit(f"{shown(value)} where a text belongs")


def _boolean(value: object) -> float | None:
    if value is None:
        return None
    if type(value) is not bool:
        raise _Misfit(f"{shown(value)} where true or false belongs")
    return float(value)


KINDS: Mapping[str, Callable[[object], Value]] = {"number": _number, "category": _category, "boolean": _boolean}


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column; `kind` is one of `KINDS`."""

    name: str
    kind: str


def features_of(details: Mapping[str, object]) -> tuple[Feature, ...]:
    """The card's input columns, in order. Raises `ModelUnreadable`."""
    listed = details.get("features")
    try:
        features = tuple(Feature(entry["name"], entry["kind"]) for entry in listed)  # type: ignore[attr-defined]
    except (TypeError, KeyError) as error:
        raise ModelUnreadable("The model card's features must be a list of objects with name and kind.") from error
    if not features or len({f.name for f in features}) < len(features):
        raise ModelUnreadable("The model card must name at least one feature, and none of them twice.")
    if strange := next((f for f in features if type(f.name) is not str or f.kind not in KINDS), None):
        raise ModelUnreadable(
            f"The model card has a feature {strange.name!r} of a kind {strange.kind!r}; known are {', '.join(KINDS)}."
        )
    return features


class RowReader:
    """Reads a request's `data` into rows: for every feature, in order, a float, a text or None.

    Missing values are null, or absent from an object. Booleans become 1.0 and 0.0.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        self._names = tuple(f.name for f in features)
        self._known = frozenset(self._names)
        more = f" and {len(self._names) - SHOWN_NAMES} more" if len(self._names) > SHOWN_NAMES else ""
        self._listed = f"{', '.join(self._names[:SHOWN_NAMES])}{more}"
        self._expected = f"{len(self._names)} values ({self._listed})"
        self._readers = tuple(KINDS[f.kind] for f in features)
        self._only_numbers = all(f.kind == "number" for f in features)

    def read(self, data: object) -> list[Row]:
        content = self._content(data)
        rows = self._from_columns(content) if isinstance(content, dict) else self._from_rows(content)
        if not rows:
            raise InputUnreadable("features is empty: send at least one row.", "/data/features")
        return rows

    def _content(self, data: object) -> object:
        if not isinstance(data, dict) or "features" not in data:
            raise InputUnreadable(f"data must be an object with features: rows of {self._expected}.", "/data")
        if unknown := next((name for name in data if name != "features"), None):
            raise InputUnreadable(
                f"data has an unknown field {short(unknown)}; rows belong in features.", f"/data/{escaped(unknown)}"
            )
        return data["features"]

    def _from_rows(self, content: object) -> list[Row]:
        if not isinstance(content, list):
            raise InputUnreadable(f"features is {shown(content)}; it must be a list of rows.", "/data/features")
        if self._are_plain(content):
            return content
        return [self._row(row, index) for index, row in enumerate(content)]

    def _are_plain(self, rows: list[Any]) -> bool:
        """Whether these are lists of nothing but numbers, as they should be: such rows are taken as they are."""
        if not self._only_numbers or set(map(type, rows)) != {list} or set(map(len, rows)) != {len(self._names)}:
            return False
        values = list(chain.from_iterable(rows))
        return (
            _NUMBERS.issuperset(map(type, values)) and -LARGEST_NUMBER <= min(values) <= max(values) <= LARGEST_NUMBER
        )

    def _row(self, row: object, number: int) -> Row:
        at = f"/data/features/{number}"
        if isinstance(row, dict):
            self._refuse_unknown(row, f"Row {number + 1}", at)
            return self._values([row.get(name) for name in self._names], number, self._cell_of_object)
        if not isinstance(row, list):
            expected = f"a list of {self._expected}, or an object with these names"
            raise InputUnreadable(f"Row {number + 1} is {shown(row)}; it must be {expected}.", at)
        if len(row) != len(self._names):
            raise InputUnreadable(f"Row {number + 1} has {len(row)} values; it must have {self._expected}.", at)
        return self._values(row, number, self._cell_of_list)

    def _from_columns(self, columns: Mapping[str, object]) -> list[Row]:
        self._refuse_unknown(columns, "features", "/data/features")
        lists = {name: column for name, column in columns.items() if isinstance(column, list)}
        if columns and not lists:
            raise InputUnreadable("features is an object of columns; each must be a list of values.", "/data/features")
        length = max(map(len, lists.values()), default=0)
        for name in columns:
            if len(lists.get(name, ())) != length or name not in lists:
                sentence = f"Column {short(name)} must be a list of {length} values, as long as the others."
                raise InputUnreadable(sentence, f"/data/features/{escaped(name)}")
        whole = [lists.get(name) or [None] * length for name in self._names]
        rows = zip(*whole, strict=True)
        return [self._values(values, number, self._cell_of_column) for number, values in enumerate(rows)]

    def _values(self, values: Sequence[object], number: int, pointer: Callable[[int, int], str]) -> Row:
        read: list[Value] = []
        for index, (reader, value) in enumerate(zip(self._readers, values, strict=True)):
            try:
                read.append(reader(value))
            except _Misfit as misfit:
                sentence = f"Row {number + 1}, column {short(self._names[index])} holds {misfit}."
                raise InputUnreadable(sentence, pointer(number, index)) from misfit
        return read

    def _cell_of_list(self, row: int, column: int) -> str:
        return f"/data/features/{row}/{column}"

    def _cell_of_object(self, row: int, column: int) -> str:
        return f"/data/features/{row}/{escaped(self._names[column])}"

    def _cell_of_column(self, row: int, column: int) -> str:
        return f"/data/features/{escaped(self._names[column])}/{row}"

    def _refuse_unknown(self, names: Mapping[str, object], where: str, at: str) -> None:
        if names.keys() <= self._known:
            return
        unknown = next(name for name in names if name not in self._known)
        sentence = f"{where} has a column {short(unknown)} that the model does not know; it knows {self._listed}."
        raise InputUnreadable(sentence, f"{at}/{escaped(unknown)}")
