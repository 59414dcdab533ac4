"""Rows: every shape of a table in JSON, and a sentence for everything that is none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.families.base import InputUnreadable, ModelUnreadable
from inference_server.families.rows import Feature, RowReader, features_of

READER = RowReader([Feature("age", "number"), Feature("city", "category"), Feature("a/b~c", "boolean")])


def read(features: Any) -> Any:
    return READER.read({"features": features})


def refusal(data: Any) -> tuple[str, str]:
    with pytest.raises(InputUnreadable) as caught:
        READER.read(data)
    return caught.value.sentence, caught.value.pointer


def test_lists_objects_and_columns_give_the_same_rows() -> None:
    expected = [[5.0, "Oslo", 1.0], [None, None, 0.0]]
    assert read([[5, "Oslo", True], [None, None, False]]) == expected
    assert read([{"a/b~c": True, "city": "Oslo", "age": 5}, {"a/b~c": False}]) == expected
    assert read({"city": ["Oslo", None], "a/b~c": [True, False], "age": [5, None]}) == expected


def test_a_column_that_is_left_out_is_missing_in_every_row() -> None:
    assert read({"age": [1, 2]}) == [[1.0, None, None], [2.0, None, None]]


@pytest.mark.parametrize(
    ("value", "column", "words"),
    [
        ("abc", 0, 'column "age" holds the text "abc" where a number belongs'),
        (True, 0, 'column "age" holds the boolean true where a number belongs'),
        ([1], 0, 'column "age" holds a list where a number belongs'),
        ({}, 0, 'column "age" holds an object where a number belongs'),
        (1e300, 0, 'column "age" holds the number 1e+300, and numbers beyond 1e+100 cannot be computed with'),
        (5, 1, 'column "city" holds the number 5 where a text belongs'),
        (False, 1, 'column "city" holds the boolean false where a text belongs'),
        (1, 2, 'column "a/b~c" holds the number 1 where true or false belongs'),
        ("true", 2, 'column "a/b~c" holds the text "true" where true or false belongs'),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_row_column_and_pointer(
    value: Any, column: int, words: str
) -> None:
    row: list[Any] = [1, "x", True]
    row[column] = value
    sentence, pointer = refusal({"features": [[1, "x", True], row]})
    assert sentence == f"Row 2, {words}."
    assert pointer == f"/data/features/1/{column}"


def test_a_pointer_into_an_object_or_a_column_names_it_escaped() -> None:
    assert refusal({"features": [{"a/b~c": 3}]})[1] == "/data/features/0/a~1b~0c"
    assert refusal({"features": {"a/b~c": [True, 3]}})[1] == "/data/features/a~1b~0c/1"


def test_a_long_value_is_shortened() -> None:
    sentence, _ = refusal({"features": [["x" * 10_000, "a", True]]})
    assert len(sentence) < 150
    assert "xxx…" in sentence


@pytest.mark.parametrize("row", [[1, "x"], [1, "x", True, 2], []])
def test_a_row_of_another_width_is_told_the_count_and_the_names(row: list[Any]) -> None:
    sentence, pointer = refusal({"features": [row]})
    assert sentence == f"Row 1 has {len(row)} values; it must have 3 values (age, city, a/b~c)."
    assert pointer == "/data/features/0"


def test_of_many_names_only_the_first_are_told() -> None:
    reader = RowReader([Feature(f"column{index}", "number") for index in range(500)])
    with pytest.raises(InputUnreadable) as caught:
        reader.read({"features": [[1]]})
    assert "column19 and 480 more" in caught.value.sentence


def test_an_unknown_column_is_refused_by_name() -> None:
    for features, pointer in (([{"agee": 1}], "/data/features/0/agee"), ({"agee": [1]}, "/data/features/agee")):
        sentence, at = refusal({"features": features})
        assert 'a column "agee" that the model does not know; it knows age, city, a/b~c.' in sentence
        assert at == pointer


@pytest.mark.parametrize(
    ("data", "words", "pointer"),
    [
        (None, "data must be an object with features", "/data"),
        ([[1, "x", True]], "data must be an object with features", "/data"),
        ({}, "data must be an object with features", "/data"),
        ({"features": [], "x/y": 1}, 'unknown field "x/y"', "/data/x~1y"),
        ({"features": []}, "features is empty", "/data/features"),
        ({"features": {}}, "features is empty", "/data/features"),
        ({"features": {"age": []}}, "features is empty", "/data/features"),
        ({"features": None}, "features is null; it must be a list of rows", "/data/features"),
        ({"features": "abc"}, 'features is the text "abc"', "/data/features"),
        ({"features": [1, 2, 3]}, "Row 1 is the number 1; it must be a list of 3 values", "/data/features/0"),
        ({"features": [[1, "x", True], None]}, "Row 2 is null", "/data/features/1"),
        ({"features": {"age": [1], "city": ["x", "y"]}}, "must be a list of 2 values", "/data/features/age"),
        ({"features": {"age": 1, "city": ["x"]}}, "must be a list of 1 values", "/data/features/age"),
    ],
)
def test_another_shape_is_refused(data: Any, words: str, pointer: str) -> None:
    sentence, at = refusal(data)
    assert words in sentence
    assert at == pointer


ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(-1e99, 1e99) | st.integers(-(2**63), 2**64),
        st.none() | st.text(max_size=5),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@given(ROWS)
def test_rows_in_are_rows_out_in_every_shape(rows: list[tuple[Any, ...]]) -> None:
    names = ("age", "city", "a/b~c")
    lists = read([list(row) for row in rows])
    assert len(lists) == len(rows)
    assert read([dict(zip(names, row, strict=True)) for row in rows]) == lists
    assert read({name: [row[index] for row in rows] for index, name in enumerate(names)}) == lists


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["features", "age", "x"]), inner),
    max_leaves=12,
)


@given(JSON)
def test_any_other_json_is_refused_in_a_sentence_or_read(data: Any) -> None:
    try:
        rows = READER.read(data)
    except InputUnreadable as refused:
        assert refused.sentence.endswith(".")
        assert refused.pointer.startswith("/data")
    else:
        assert rows


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"features": []},
        {"features": "age"},
        {"features": [{"name": "age"}]},
        {"features": [{"name": "age", "kind": "complex"}]},
        {"features": [{"name": 3, "kind": "number"}]},
        {"features": [{"name": "age", "kind": "number"}, {"name": "age", "kind": "category"}]},
    ],
)
def test_a_card_without_sound_features_is_refused(details: dict[str, Any]) -> None:
    with pytest.raises(ModelUnreadable):
        features_of(details)
