"""Tables and folders of images: what can be read, and the sentence for what cannot."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.trainer.tables import write_csv
from trainer.datasets import choose_target, choose_text_column, image_folders, read_table, split_indices
from trainer.families.base import DataUnreadable

ROWS = [f"{n},{n % 3},x{n}" for n in range(12)]
FRAME = pd.DataFrame({"a": range(12), "b": [n % 3 for n in range(12)], "c": [f"x{n}" for n in range(12)]})


def csv(path: Path) -> None:
    write_csv(path, "a,b,c", ROWS)


def european_csv(path: Path) -> None:
    write_csv(path, "\ufeffa;b;c", [row.replace(",", ";") for row in ROWS])


def json_lines(path: Path) -> None:
    FRAME.to_json(path, orient="records", lines=True)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("table.csv", csv),
        ("table.csv", european_csv),
        ("table", FRAME.to_parquet),
        ("table.jsonl", json_lines),
        ("misnamed.csv", FRAME.to_parquet),
        ("misnamed.txt", json_lines),
    ],
)
def test_a_table_is_read_by_its_content_first_and_its_suffix_second(tmp_path: Path, name: str, write: object) -> None:
    write(tmp_path / name)  # type: ignore[operator]
    assert read_table(tmp_path / name).to_dict("list") == FRAME.to_dict("list")


def test_an_index_column_without_a_name_is_left_out(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "table.csv")
    assert list(read_table(tmp_path / "table.csv").columns) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("d.csv", b"", "is empty"),
        ("d.csv", b"\n \n", "is empty"),
        ("d.csv", b"a,b\n", "has a header and no rows"),
        ("d.csv", b"a,b\n1,2\n", "too few rows: 1"),
        ("d.csv", b"1,2\n" * 20, "first line holds numbers"),
        ("d.csv", b"a,b\n" + b"1,2\n" * 11 + b"1,2,3\n", "line 13 has 3 fields where 2 are expected"),
        ("d.csv", b"a,b\n" + b"1,2,3\n" * 11, "more fields than its header"),
        ("d.csv", b'a,b\n1,"2\n' + b"1,2\n" * 11, "a quotation mark that is never closed"),
        (
            "d.csv",
            b"a,b\n" + b"1,x\n" * 4 + b"1,caf\xe9\n" + b"1,x\n" * 9,
            "line 6 has the byte 0xe9. Save it as UTF-8",
        ),
        ("d.csv", "a,b\n".encode("utf-16"), "is UTF-16 text"),
        ("d.csv", b"a,b\n\0\0\0", "neither CSV, Parquet"),
        ("d.parquet", b"PAR1" + b"x" * 40, "a broken Parquet file"),
        ("d.parquet", b"a,b\n1,2\n", "does not begin as Parquet does"),
        ("d.jsonl", b'{"a": 1}\n{"a": \n', "not readable as JSON lines"),
        ("d.jsonl", b'{"a": 1}\n{"a": "x"}\n', "Column(/a) changed from number to string in row 1"),
        ("d.json", b'[{"a": 1}]', "one JSON array"),
        ("d.csv", b"<!DOCTYPE html><html></html>", "a web page"),
        ("d.csv.gz", b"\x1f\x8b\x08\0garbage", "holds no tar archive"),
        ("d.zip", b"PK\x03\x04garbage", "is a zip archive; a table is needed"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataUnreadable) as refused:
        read_table(tmp_path / name)
    assert sentence in str(refused.value)
    assert str(refused.value).startswith("The dataset") and "\n" not in str(refused.value)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="a table is needed"):
        read_table(tmp_path)


def test_the_target_is_the_wanted_column_or_the_one_named_so_or_the_last() -> None:
    frame = pd.DataFrame(columns=["a", "Target", "z"])
    assert choose_target(frame, "a") == "a"
    assert choose_target(frame) == "Target"
    assert choose_target(frame[["a", "z"]]) == "z"
    with pytest.raises(DataUnreadable, match=r"no column 'price' \(targetColumn\); its columns are a, Target, z"):
        choose_target(frame, "price")


def test_the_text_column_is_the_wanted_one_or_the_one_named_so_or_the_first_of_strings() -> None:
    frame = pd.DataFrame({"n": [1, 2], "label": ["a", "b"], "review": ["good", None], "Text": [1, 2]})
    assert choose_text_column(frame, "review") == "review"
    assert choose_text_column(frame) == "Text"
    assert choose_text_column(frame[["n", "label", "review"]]) == "label"
    assert choose_text_column(frame[["n", "label", "review"]], besides="label") == "review"
    with pytest.raises(DataUnreadable, match="no column of text; its columns are n"):
        choose_text_column(frame[["n"]])


@pytest.mark.parametrize(("rows", "fraction"), [(10, 0.01), (10, 0.9), (100, 0.2), (442, 0.2)])
def test_a_split_uses_every_row_once_and_is_the_same_every_time(rows: int, fraction: float) -> None:
    train, test = split_indices(rows, fraction, seed=7)
    assert sorted([*train, *test]) == list(range(rows))
    assert len(test) == min(max(round(rows * fraction), 2), rows - 2)
    assert np.array_equal(split_indices(rows, fraction, seed=7)[1], test)
    assert rows == 10 or not np.array_equal(split_indices(rows, fraction, seed=8)[1], test)


def test_a_stratified_split_takes_the_same_share_of_every_class_and_leaves_the_rare_to_training() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10 + ["rare"]
    _, test = split_indices(len(labels), 0.2, 0, labels)
    assert Counter(labels[row] for row in test) == {"a": 12, "b": 6, "c": 2}
    train, _ = split_indices(len(labels), 0.7, 0, labels)
    assert "rare" in {labels[row] for row in train}


def images(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")
    return root


@pytest.mark.parametrize("around", ["", "flowers/"])
def test_images_come_with_the_name_of_their_folder_as_their_class(tmp_path: Path, around: str) -> None:
    root = images(tmp_path, *(around + name for name in ("rose/2.PNG", "rose/1.jpg", "tulip/1.png", "tulip/notes.txt")))
    found = [(path.name, label) for path, label in image_folders(root)]
    assert found == [("1.jpg", "rose"), ("2.PNG", "rose"), ("1.png", "tulip")]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["rose/1.png"], "it has 1"),
        (["1.png", "2.png"], "it has 0"),
        (["rose/1.png", "tulip/notes.txt"], "'tulip' holds no images"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(DataUnreadable, match=sentence):
        image_folders(images(tmp_path, *names))
