"""Lists and label tables: what is read, and the nearest folder that a table names."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefw.data.key_tables import looked_up, read_keys, read_labels
from edgefw.errors import DataError


def written(folder: Path, text: str) -> Path:
    (folder / "table").write_text(text)
    return folder / "table"


def test_a_list_holds_one_name_a_line(tmp_path: Path) -> None:
    assert read_keys(written(tmp_path, "# scenes\nscene0\n\n./scene1/2.jpg\nscene2/\n")) == [
        "scene0",
        "scene1/2",
        "scene2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a/1,living room\nb,hall\n",
        "a/1.png\tliving room\nb\thall\n",
        "a/1 living  room\nb hall\n",
        "split,id,label,rgb\ntrain,a/1,living room,x.png\nval,b,hall,y.png\nval,c,,z.png\n",
    ],
)
def test_a_table_holds_a_key_and_a_label_a_line(tmp_path: Path, text: str) -> None:
    assert read_labels(written(tmp_path, text)) == {"a/1": "living room", "b": "hall"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,x\nb\n", r"table: the row 'b' has no label\. Write one key and one label a line\."),
        ("a,x\na,y\n", r"table: 'a' has two labels, 'x' and 'y'\."),
        ("\n", r"table: holds no label\."),
        ('a,"x\n', r"table: is no CSV"),
    ],
)
def test_a_wrong_table_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(written(tmp_path, text))


def test_an_empty_list_and_a_missing_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"table: holds no name\."):
        read_keys(written(tmp_path, "#\n"))
    with pytest.raises(DataError, match=r"none: cannot be read \(No such file"):
        read_keys(tmp_path / "none")


def test_the_longest_key_wins() -> None:
    table = {"a": 1, "a/b": 2, "a/b/c": 3}
    assert [looked_up(table, key) for key in ("a/x", "a/b/x", "a/b/c", "b/a", "ab")] == [1, 2, 3, None, None]
